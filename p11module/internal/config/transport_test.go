package config

import (
	"strings"
	"testing"
)

func TestTransport(t *testing.T) {
	for text, want := range map[string]string{"": "", "transport = \"grpc-go\"": "grpc-go", "transport = \"grpcwire\"": "grpcwire"} {
		if c, err := parseTOML([]byte(text), "test"); err != nil || c.Transport != want {
			t.Errorf("%q: %q, %v", text, c.Transport, err)
		}
	}
	c := Config{Endpoints: []string{"unix:///s"}, Transport: "pigeon"}
	if err := c.check(); err == nil || !strings.Contains(err.Error(), "pigeon") {
		t.Errorf("error %v", err)
	}
}
