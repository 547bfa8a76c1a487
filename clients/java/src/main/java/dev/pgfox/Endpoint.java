package dev.pgfox;

import java.net.URI;
import java.net.URISyntaxException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The address of a server. */
record Endpoint(boolean tls, String host, int port) {
    private static final Pattern FORM = Pattern.compile(
            "(?:(?<scheme>[A-Za-z]+)://)?(?<host>[\\w.-]+|\\[[0-9A-Fa-f:.]+\\])(?::(?<port>\\d{1,5}))?/?");

    /**
     * Reads {@code host:port}, {@code http://host:port} or {@code https://host:port}; with a scheme the port may be
     * absent.
     */
    static Endpoint parse(String text, boolean hasCa) {
        Matcher parts = FORM.matcher(text.strip());
        if (!parts.matches()) {
            throw malformed(text);
        }
        if (!isHost(parts.group("host"))) {
            throw new IllegalArgumentException("\"" + text
                    + "\" has a host that Java does not resolve; names have letters, digits, hyphens and dots");
        }
        String scheme = parts.group("scheme");
        boolean tls = scheme == null ? hasCa : scheme.equalsIgnoreCase("https");
        if (!tls && scheme != null && !scheme.equalsIgnoreCase("http")) {
            throw malformed(text);
        }
        if (!tls && hasCa) {
            throw new IllegalArgumentException(
                    "\"" + text + "\" uses no TLS, so the CA would be ignored; write https://");
        }
        if (parts.group("port") == null && scheme == null) {
            throw malformed(text);
        }
        int port = parts.group("port") == null ? (tls ? 443 : 80) : Integer.parseInt(parts.group("port"));
        if (port < 1 || port > 65_535) {
            throw malformed(text);
        }
        return new Endpoint(tls, parts.group("host"), port);
    }

    private static IllegalArgumentException malformed(String text) {
        return new IllegalArgumentException(
                "\"" + text + "\" is not a server address; write host:port, http://host:port or https://host:port");
    }

    /** Whether gRPC can resolve the host. */
    private static boolean isHost(String text) {
        try {
            return new URI("//" + text).getHost() != null;
        } catch (URISyntaxException e) {
            return false;
        }
    }

    /** The target for gRPC, which uses every address that DNS has for the name. */
    String target() {
        // The brackets of IPv6 cannot be in the path of a URI.
        return "dns:///" + host.replace("[", "%5B").replace("]", "%5D") + ":" + port;
    }

    @Override
    public String toString() {
        return (tls ? "https://" : "http://") + host + ":" + port;
    }
}
