package attacks

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// TestSoak makes as many calls as a busy application does in a day, one after the other without a pause: sessions,
// searches, signatures, objects that come and go. Memory, descriptors, threads and goroutines of application and daemon
// must be at the end what they were after the first tenth. SOAK_CALLS is how many signatures: 1,000,000 is a day.
func TestSoak(t *testing.T) {
	calls := 30_000
	if text := os.Getenv("SOAK_CALLS"); text != "" {
		var err error
		if calls, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	// The daemon lets its garbage grow by 64 MB before it collects it: here it shall be seen what is kept.
	t.Setenv("GOGC", "20")
	d := daemontest.Start(t, daemontest.Options{})
	command := exec.Command(os.Args[0])
	command.Env = append(append(os.Environ(), d.Env()...), "ANYHSM_SOAK="+strconv.Itoa(calls), "MODULE="+d.ModulePath, "TOKEN="+d.Token, "PIN="+d.UserPIN)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	command.Stderr = &complaints
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var hosts []host
	var daemons []figures
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var h host
		if _, err := fmt.Sscan(lines.Text(), &h.memory, &h.descriptors, &h.threads); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		hosts, daemons = append(hosts, h), append(daemons, measure(t, d))
	}
	if err := command.Wait(); err != nil {
		t.Fatalf("%v: %s", err, complaints.String())
	}
	for i := range hosts {
		t.Logf("after %3d %%: application %4d MiB, %d descriptors, %d threads; daemon %4.0f MiB, %.0f descriptors, %.0f goroutines",
			(i+1)*100/parts, hosts[i].memory>>20, hosts[i].descriptors, hosts[i].threads,
			daemons[i].memory/(1<<20), daemons[i].descriptors, daemons[i].goroutines)
	}
	if len(hosts) != parts {
		t.Fatalf("%d reports", len(hosts))
	}
	// The second half against the time after warming up; the store's cache of pages fills slowly.
	first, last, firstDaemon, lastDaemon := hosts[1], hosts[parts-1], daemons[1], daemons[parts-1]
	if last.memory > first.memory+16<<20 || last.descriptors > first.descriptors+4 || last.threads > first.threads+16 {
		t.Errorf("the application grows: %+v to %+v", first, last)
	}
	if lastDaemon.memory > firstDaemon.memory+64<<20 || lastDaemon.descriptors > firstDaemon.descriptors+8 || lastDaemon.goroutines > firstDaemon.goroutines+20 {
		t.Errorf("the daemon grows: %+v to %+v", firstDaemon, lastDaemon)
	}
}

// parts is how often the application reports.
const parts = 10

// host is what the application's process holds.
type host struct{ memory, descriptors, threads int }

// soakHost is the application.
func soakHost() int {
	if err := soak(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func soak() error {
	calls, err := strconv.Atoi(os.Getenv("ANYHSM_SOAK"))
	if err != nil {
		return err
	}
	module := pkcs11.New(os.Getenv("MODULE"))
	if err := module.Initialize(); err != nil {
		return err
	}
	defer module.Finalize()
	session, err := login(module, os.Getenv("TOKEN"), os.Getenv("PIN"))
	if err != nil {
		return err
	}
	if _, err := generate(module, session); err != nil {
		return err
	}
	info, err := module.GetSessionInfo(session)
	if err != nil {
		return err
	}
	for part := range parts {
		for n := 0; n < calls/parts; n += 100 {
			if err := hundred(module, info.SlotID, part*calls+n); err != nil {
				return err
			}
		}
		if err := reportHost(); err != nil {
			return err
		}
	}
	return nil
}

// hundred makes a hundred signatures in a session of its own, with a key that is searched, and an object that is made,
// read and destroyed.
func hundred(module *pkcs11.Ctx, slot uint, first int) error {
	session, err := module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	if err := module.FindObjectsInit(session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}); err != nil {
		return err
	}
	found, _, err := module.FindObjects(session, 10)
	if err != nil || len(found) != 1 {
		return fmt.Errorf("found %v: %w", found, err)
	}
	if err := module.FindObjectsFinal(session); err != nil {
		return err
	}
	for n := range 100 {
		if err := sign(module, session, found[0], first+n); err != nil {
			return err
		}
	}
	for _, kept := range []bool{true, false} {
		object, err := module.CreateObject(session, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, kept),
			pkcs11.NewAttribute(pkcs11.CKA_LABEL, "soak"), pkcs11.NewAttribute(pkcs11.CKA_VALUE, make([]byte, 1000)),
		})
		if err != nil {
			return err
		}
		if kept {
			// The other one goes with its session.
			if err := module.DestroyObject(session, object); err != nil {
				return err
			}
		}
	}
	return module.CloseSession(session)
}

func reportHost() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	var h host
	for line := range strings.SplitSeq(string(status), "\n") {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "VmRSS":
			_, err = fmt.Sscanf(strings.TrimSpace(value), "%d kB", &h.memory)
			h.memory <<= 10
		case "Threads":
			h.threads, err = strconv.Atoi(strings.TrimSpace(value))
		}
		if err != nil {
			return err
		}
	}
	descriptors, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return err
	}
	_, err = fmt.Println(h.memory, len(descriptors), h.threads)
	return err
}
