package config

import (
	"strings"
	"testing"
)

func TestTransport(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "[listen]\ntransport = \"grpc-go\"\n": "grpc-go", "[listen]\ntransport = \"grpcwire\"\n": "grpcwire",
	} {
		if c, err := Parse([]byte(text), ""); err != nil || c.Listen.Transport != want {
			t.Errorf("%q: %q, %v", text, c.Listen.Transport, err)
		}
	}
	if _, err := Parse([]byte("[listen]\ntransport = \"pigeon\"\n"), ""); err == nil || !strings.Contains(err.Error(), "pigeon") {
		t.Errorf("error %v", err)
	}
}
