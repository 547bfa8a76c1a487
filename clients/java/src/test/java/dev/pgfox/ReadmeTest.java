package dev.pgfox;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class ReadmeTest {
    @Test
    void theExampleIsTheOneThatRuns() throws IOException {
        String example = Files.readString(Path.of("examples/Quickstart.java"));
        assertTrue(Files.readString(Path.of("README.md")).contains("```java\n" + example + "```\n"));
    }
}
