package chaos

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// patience is how long anything may take that the test waits for.
const patience = 90 * time.Second

// replica is one daemon.
type replica struct {
	number              int
	dir, socket, config string
	network             network
	cli                 string
	endpoint, metrics   string

	mu      sync.Mutex
	program string
	process *exec.Cmd
	ended   chan struct{}
}

// start runs the daemon and waits until it serves. One that gives up, because the database is away, is started again,
// as systemd would.
func (r *replica) start() error {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		r.mu.Lock()
		err := r.run()
		ended := r.ended
		r.mu.Unlock()
		if err != nil {
			return err
		}
		for !r.serves() {
			select {
			case <-ended:
			case <-time.After(50 * time.Millisecond):
				if time.Now().Before(deadline) {
					continue
				}
			}
			break
		}
		select {
		case <-ended:
		default:
			if r.serves() {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("replica %d does not start:\n%s", r.number, tail(r.log()))
		}
	}
}

// run starts the process if none runs.
func (r *replica) run() error {
	if r.process != nil {
		select {
		case <-r.ended:
		default:
			return nil
		}
	}
	log, err := os.OpenFile(r.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	process := r.network.command(r.number, r.program, "--config", r.config)
	process.Stdout, process.Stderr = log, log
	// A test that dies takes its daemons along.
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = process.Wait(); close(ended) }()
	r.process, r.ended = process, ended
	return nil
}

func (r *replica) log() string { return filepath.Join(r.dir, "anyhsmd.log") }

// serves asks the health service over the daemon's own socket, which no cut network keeps from us.
func (r *replica) serves() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+r.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return false
	}
	defer conn.Close()
	answer, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	return err == nil && answer.GetStatus() == healthv1.HealthCheckResponse_SERVING
}

// wait waits until the replica serves: one whose network was healed has to find the database first.
func (r *replica) wait() error {
	for deadline := time.Now().Add(patience); !r.serves(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("replica %d does not come back:\n%s", r.number, tail(r.log()))
		}
	}
	return nil
}

func (r *replica) signal(s syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process.Process.Signal(s)
}

// end sends a signal that ends the daemon, and insists if it does not.
func (r *replica) end(s syscall.Signal) error {
	if err := r.signal(s); err != nil {
		return err
	}
	select {
	case <-r.ended:
		return nil
	case <-time.After(patience):
		_ = r.signal(syscall.SIGKILL)
		return fmt.Errorf("replica %d does not end:\n%s", r.number, tail(r.log()))
	}
}

// admin runs the CLI against this replica.
func (r *replica) admin(environment []string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, r.cli, arguments...)
	command.Env = append(append(os.Environ(), "ANYHSM_SOCKET="+r.socket), environment...)
	var out, errors strings.Builder
	command.Stdout, command.Stderr = &out, &errors
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("anyhsm %s: %w: %s", strings.Join(arguments, " "), err, errors.String())
	}
	return out.String(), nil
}

// signatures is how many the daemon has made since it was started.
func (r *replica) signatures() (int, error) {
	response, err := http.Get("http://" + r.metrics + "/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if number, found := strings.CutPrefix(lines.Text(), `anyhsm_rpc_requests_total{code="OK",method="CryptoService/Sign"} `); found {
			count, err := strconv.ParseFloat(number, 64)
			return int(count), err
		}
	}
	return 0, nil
}

// tail is the end of a file.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4096):])
}
