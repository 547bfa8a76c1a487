package dev.pgfox;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

class ReadmeTest {
    @Test
    void theExampleIsTheOneThatRuns() throws IOException {
        String example = Files.readString(Path.of("examples/Quickstart.java"));
        assertTrue(Files.readString(Path.of("README.md")).contains("```java\n" + example + "```\n"));
    }

    @Test
    void theSnippetsAreThoseThatCompile() throws IOException {
        String compiled = Files.readString(Path.of("examples/Quickstart.java"))
                + Files.readString(Path.of("src/test/java/dev/pgfox/ReadmeSnippets.java"))
                        .replaceAll("(?m)^ {8}", "");
        Matcher blocks = Pattern.compile("(?s)```java\n(.*?)```").matcher(Files.readString(Path.of("README.md")));
        int count = 0;
        for (; blocks.find(); count++) {
            assertTrue(compiled.contains(blocks.group(1)), blocks.group(1));
        }
        assertTrue(count > 8, count + " snippets");
    }
}
