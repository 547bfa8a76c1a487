package pgfox

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestEndpoints(t *testing.T) {
	for given, expected := range map[string]string{
		"localhost:50051":       "http://localhost:50051",
		" 127.0.0.1:1 ":         "http://127.0.0.1:1",
		"http://[::1]:1":        "http://[::1]:1",
		"[::1]:1":               "http://[::1]:1",
		"http://pgfox.example":  "http://pgfox.example:80",
		"https://pgfox.example": "https://pgfox.example:443",
		"https://h:1/":          "https://h:1",
	} {
		if server, err := parseEndpoint(given, false); err != nil || server.String() != expected {
			t.Errorf("%q: %v %v", given, server, err)
		}
	}
	for _, bad := range []string{
		"localhost", "[::1]", "h/",
		"ftp://x:1", "http://", "http://h:1/path", "host:port", "a b:1", "h:", "::1", "h:0", "h:65536", "http://u:p@h:1", "h:1?x", "h:1#x", ":1",
	} {
		if server, err := parseEndpoint(bad, false); err == nil {
			t.Errorf("%q was accepted: %v", bad, server)
		}
	}
	if _, err := parseEndpoint("localhost", true); err == nil || !strings.Contains(err.Error(), "write host:port") {
		t.Error(err)
	}
	if server, err := parseEndpoint("h:1", true); err != nil || server.String() != "https://h:1" {
		t.Error(server, err)
	}
	if _, err := parseEndpoint("http://h:1", true); err == nil || !strings.Contains(err.Error(), "https://") {
		t.Error(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, option := range []Option{
		WithAPIKey("a\nb"), WithAPIKey("schlüssel"), WithCA([]byte("no certificate")),
		WithTimeout(0), WithTimeout(-time.Second), WithTimeout(25 * time.Hour),
	} {
		if client, err := Connect("h:1", option); err == nil {
			client.Close()
			t.Error("accepted")
		}
	}
	client, err := Connect("", WithAPIKey(""))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}

func TestTheAPIKeyStaysHidden(t *testing.T) {
	key := bearer(func() string { return "s3cret" })
	if printed := fmt.Sprintf("%v %+v %#v", key, key, struct{ key any }{key}); strings.Contains(printed, "s3cret") {
		t.Fatal(printed)
	}
}

func TestPauses(t *testing.T) {
	var pauses pauses
	for _, most := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		most *= time.Millisecond
		if pause := pauses.next(&Error{}); pause < most/2 || pause > most {
			t.Errorf("%v instead of at most %v", pause, most)
		}
	}
	if pause := pauses.next(&Error{RetryDelay: time.Minute}); pause != time.Minute {
		t.Error(pause)
	}
}
