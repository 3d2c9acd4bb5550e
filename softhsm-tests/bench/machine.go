package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// machine describes the host.
func machine() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown machine"
	}
	model, cores := "unknown CPU", 0
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch strings.TrimSpace(name) {
		case "model name":
			model = strings.TrimSpace(value)
			cores++
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	var system syscall.Utsname
	_ = syscall.Uname(&system)
	var release strings.Builder
	for _, c := range system.Release {
		if c == 0 {
			break
		}
		release.WriteByte(byte(c))
	}
	return fmt.Sprintf("%d × %s, Linux %s, load %s", cores, model, release.String(), strings.Join(strings.Fields(string(load))[:3], " "))
}
