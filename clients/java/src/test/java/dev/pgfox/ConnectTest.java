package dev.pgfox;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.pgfox.v1.SearchRequest;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsServerCredentials;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.KeyManagerFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class ConnectTest {
    private static final SearchRequest SEARCH = SearchRequest.getDefaultInstance();

    @Test
    void endpoints() {
        assertEquals(
                "http://localhost:50051",
                Endpoint.parse("localhost:50051", false).toString());
        assertEquals(
                "https://localhost:50051",
                Endpoint.parse("localhost:50051", true).toString());
        assertEquals("http://[::1]:1", Endpoint.parse("http://[::1]:1/", false).toString());
        assertEquals(
                "https://pgfox.example:443",
                Endpoint.parse("https://pgfox.example", false).toString());
        assertEquals(
                "dns:///pgfox.example:443",
                Endpoint.parse("https://pgfox.example", false).target());
        for (String bad : List.of(
                "",
                "localhost",
                "ftp://x:1",
                "http://",
                "http://host:1/path",
                "host:port",
                "a b:1",
                "h:0",
                "h:65536",
                "a%zz:1")) {
            var error = assertThrows(IllegalArgumentException.class, () -> PgfoxClient.connect(bad), bad);
            assertTrue(
                    error.getMessage().endsWith("write host:port, http://host:port or https://host:port"),
                    error.getMessage());
        }
        for (String bad : List.of("a_b:1", "1.2.3.4.5:1", "[:::::]:1")) {
            var error = assertThrows(IllegalArgumentException.class, () -> PgfoxClient.connect(bad), bad);
            assertTrue(error.getMessage().contains(" has a host that Java does not resolve; "), error.getMessage());
        }
        var error = assertThrows(
                IllegalArgumentException.class,
                () -> PgfoxClient.builder("http://host:1").ca(new byte[1]).connect());
        assertTrue(error.getMessage().contains("write https://"), error.getMessage());
    }

    @Test
    void addressesOfIpv6AreReached() throws Exception {
        InetAddress loopback = InetAddress.getByName("::1");
        assumeTrue(NetworkInterface.getByInetAddress(loopback) != null, "no IPv6 on this machine");
        try (StandIn server = new StandIn(new InetSocketAddress(loopback, 0), InsecureServerCredentials.create())) {
            for (String scheme : List.of("", "http://")) {
                try (PgfoxClient client = PgfoxClient.connect(scheme + "[::1]:" + server.server.getPort())) {
                    client.blocking().search(SEARCH);
                }
            }
        }
    }

    @Test
    void tlsToAServerWithoutItIsToldAtOnce() {
        try (StandIn server = new StandIn();
                PgfoxClient client = PgfoxClient.connect("https://" + server.endpoint())) {
            long start = System.nanoTime();
            var error = PgfoxException.of(assertThrows(
                    StatusRuntimeException.class, () -> client.blocking().search(SEARCH)));
            assertTrue(
                    System.nanoTime() - start < Duration.ofSeconds(20).toNanos(), "repeated although it cannot help");
            assertEquals(Status.Code.UNAVAILABLE, error.code());
            assertTrue(
                    error.getMessage().startsWith("https://" + server.endpoint() + " does not speak TLS: "),
                    error.getMessage());
        }
    }

    @Test
    void anEmptyKeyIsNone() {
        try (StandIn server = new StandIn();
                PgfoxClient client =
                        PgfoxClient.builder(server.endpoint()).apiKey("").connect()) {
            client.blocking().search(SEARCH);
            assertNull(server.calls.get(0).get(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)));
        }
    }

    @Test
    void aTimeoutHasItsRange() {
        var options = PgfoxClient.builder("localhost:1");
        for (long seconds : new long[] {0, -1, 86_401, Long.MAX_VALUE}) {
            var error =
                    assertThrows(IllegalArgumentException.class, () -> options.timeout(Duration.ofSeconds(seconds)));
            assertEquals("timeout must be above 0 and at most 86400 s, not " + seconds + " s", error.getMessage());
        }
        options.timeout(Duration.ofDays(1));
    }

    @Test
    void theKeyStaysHiddenAndMustFitAHeader() {
        PgfoxClient.Builder options = PgfoxClient.builder("localhost:1").apiKey("s3cret");
        assertFalse(options.toString().contains("s3cret"));
        try (PgfoxClient client = options.connect()) {
            assertEquals("PgfoxClient[http://localhost:1]", client.toString());
        }
        for (String bad : List.of("a\nb", "a b", "schlüssel")) {
            var error = assertThrows(
                    IllegalArgumentException.class, () -> options.apiKey(bad).connect());
            assertFalse(error.getMessage().contains(bad));
        }
    }

    @Test
    void callsHaveADeadlineAndAName() throws Exception {
        try (StandIn server = new StandIn();
                PgfoxClient client = PgfoxClient.builder(server.endpoint())
                        .timeout(Duration.ofSeconds(20))
                        .connect()) {
            client.blocking().search(SEARCH);
            client.blocking().withDeadlineAfter(5, TimeUnit.SECONDS).search(SEARCH);
            assertTrue(server.deadlines.get(0).compareTo(Duration.ofSeconds(15)) > 0, server.deadlines.toString());
            assertTrue(server.deadlines.get(1).compareTo(Duration.ofSeconds(5)) <= 0, server.deadlines.toString());

            String agent = server.calls.get(0).get(Metadata.Key.of("user-agent", Metadata.ASCII_STRING_MARSHALLER));
            Matcher version = Pattern.compile("<artifactId>pgfox-client</artifactId>\\s*<version>(.*)</version>")
                    .matcher(Files.readString(Path.of("pom.xml")));
            assertTrue(version.find());
            assertTrue(agent.startsWith("pgfox-java/" + version.group(1) + " "), agent);
        }
    }

    @Test
    void aCaThatIsNoneIsRefused() {
        for (String bad :
                List.of("", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")) {
            var options = PgfoxClient.builder("localhost:1").ca(bad.getBytes());
            var error = assertThrows(IllegalArgumentException.class, options::connect);
            assertTrue(error.getMessage().startsWith("the CA must be certificates in PEM"), error.getMessage());
        }
    }

    @Test
    void tlsIsTrustedWithTheCaOnly(@TempDir Path folder) throws Exception {
        Path file = folder.resolve("server.p12");
        String[] keytool = {
            Path.of(System.getProperty("java.home"), "bin", "keytool").toString(),
            "-genkeypair",
            "-keystore",
            file.toString(),
            "-storepass",
            "secret",
            "-alias",
            "server",
            "-keyalg",
            "EC",
            "-dname",
            "CN=localhost",
            "-ext",
            "SAN=dns:localhost,ip:127.0.0.1",
            "-ext",
            "BC=ca:true"
        };
        assertEquals(
                0,
                new ProcessBuilder(keytool)
                        .redirectErrorStream(true)
                        .redirectOutput(folder.resolve("log").toFile())
                        .start()
                        .waitFor());
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream stored = Files.newInputStream(file)) {
            store.load(stored, "secret".toCharArray());
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(store, "secret".toCharArray());
        byte[] pem = pem(store.getCertificate("server"));

        try (StandIn server = new StandIn(
                0,
                TlsServerCredentials.newBuilder()
                        .keyManager(keys.getKeyManagers())
                        .build())) {
            try (PgfoxClient client =
                    PgfoxClient.builder(server.endpoint()).ca(pem).connect()) {
                client.blocking().search(SEARCH);
            }
            try (PgfoxClient client = PgfoxClient.connect("https://" + server.endpoint())) {
                long start = System.nanoTime();
                var error = PgfoxException.of(assertThrows(
                        StatusRuntimeException.class, () -> client.blocking().search(SEARCH)));
                assertTrue(
                        System.nanoTime() - start < Duration.ofSeconds(20).toNanos(),
                        "repeated although it cannot help");
                assertEquals(Status.Code.UNAVAILABLE, error.code());
                assertTrue(error.getMessage().startsWith("the certificate of https://127.0.0.1:"), error.getMessage());
                assertTrue(error.getMessage().endsWith("give the CA that it descends from"), error.getMessage());
            }
            try (PgfoxClient client =
                    PgfoxClient.builder(server.endpoint()).retry(false).connect()) {
                var error = PgfoxException.of(assertThrows(
                        StatusRuntimeException.class, () -> client.blocking().search(SEARCH)));
                assertTrue(error.getMessage().contains("http or https"), error.getMessage());
            }
        }
    }

    private static byte[] pem(Certificate certificate) throws Exception {
        String body = Base64.getMimeEncoder().encodeToString(certificate.getEncoded());
        return ("-----BEGIN CERTIFICATE-----\n" + body + "\n-----END CERTIFICATE-----\n").getBytes();
    }
}
