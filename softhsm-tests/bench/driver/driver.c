/* Measures one operation of any PKCS#11 module and prints one line of JSON: p50, p99, p99.9, operations a second, and
 * the CPU that the caller and a server spent for one operation.
 *
 * driver --module LIB --token LABEL --pin PIN --setup [--items N | --tls] make the keys and items that operations use
 * driver --module LIB --token LABEL --pin PIN --op OP [--threads N] [--seconds S] [--server PID] [--items N]
 *
 * The operations start and list-cold are each measured in a process of their own; idle prints what the module adds to a
 * process that has signed once and then waits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE
#include "operations.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
	const char *module, *token, *pin, *op, *self;
	int threads, setup, tls;
	const char *first;
	unsigned long items;
	double seconds;
	pid_t server;
} options = {.threads = 1, .seconds = 0.4};

static atomic_int state; /* 0 warming up, 1 measuring, 2 over */
static pthread_barrier_t ready;
static CK_SLOT_ID slot;
unsigned long many;

struct caller {
	pthread_t thread;
	const struct operation *operation;
	struct context context;
	uint64_t *samples; /* nanoseconds */
	atomic_size_t count;
	size_t room;
};

static void fail(const char *what, CK_RV rv)
{
	static atomic_flag failed = ATOMIC_FLAG_INIT;

	/* One line, however many threads fail. */
	while (atomic_flag_test_and_set(&failed))
		pause();
	printf("{\"op\":\"%s\",\"threads\":%d,\"error\":\"%s: 0x%lx\"}\n", options.op ? options.op : "", options.threads, what, rv);
	exit(3);
}

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t) != 0)
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The CPU time of a process and all its descendants that live. */
static uint64_t cpu_of(pid_t pid)
{
	char path[64];
	clockid_t clock;
	uint64_t total = 0;
	FILE *children;
	int child;

	if (pid <= 0)
		return 0;
	if (clock_getcpuclockid(pid, &clock) == 0)
		total = now(clock);
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
	children = fopen(path, "r");
	if (!children)
		return total;
	while (fscanf(children, "%d", &child) == 1)
		total += cpu_of(child);
	fclose(children);
	return total;
}

static void open_module(void)
{
	CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
	CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR);
	void *library = dlopen(options.module, RTLD_NOW | RTLD_LOCAL);
	CK_SLOT_ID slots[64];
	CK_ULONG count = 64;
	CK_RV rv;

	if (!library) {
		fprintf(stderr, "driver: %s\n", dlerror());
		exit(2);
	}
	*(void **)&get = dlsym(library, "C_GetFunctionList");
	if (!get || get(&p11) != CKR_OK)
		fail("C_GetFunctionList", 0);
	if ((rv = p11->C_Initialize(&arguments)) != CKR_OK)
		fail("C_Initialize", rv);
	if ((rv = p11->C_GetSlotList(CK_TRUE, slots, &count)) != CKR_OK)
		fail("C_GetSlotList", rv);
	for (CK_ULONG i = 0; i < count; i++) {
		CK_TOKEN_INFO info;

		if (p11->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
		    memcmp(info.label, options.token, strlen(options.token)) == 0) {
			slot = slots[i];
			return;
		}
	}
	fail("no such token", 0);
}

static CK_SESSION_HANDLE open_session(void)
{
	CK_SESSION_HANDLE session;
	CK_RV rv = p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);

	if (rv != CKR_OK)
		fail("C_OpenSession", rv);
	return session;
}

static CK_SESSION_HANDLE log_in(void)
{
	CK_SESSION_HANDLE session = open_session();
	CK_RV rv = p11->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR)(uintptr_t)options.pin, strlen(options.pin));

	if (rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN)
		fail("C_Login", rv);
	return session;
}

static void sample(struct caller *c, uint64_t ns)
{
	if (c->count == c->room) {
		c->room = c->room ? 2 * c->room : 1 << 14;
		c->samples = realloc(c->samples, c->room * sizeof *c->samples);
		if (!c->samples)
			abort();
	}
	c->samples[c->count++] = ns;
}

static void *run(void *data)
{
	struct caller *c = data;
	CK_RV rv;

	c->context.slot = slot;
	c->context.session = open_session();
	if ((rv = operation_prepare(c->operation, &c->context)) != CKR_OK)
		fail("prepare", rv);
	if ((rv = c->operation->run(&c->context)) != CKR_OK)
		fail("the operation", rv);
	pthread_barrier_wait(&ready);
	while (atomic_load_explicit(&state, memory_order_relaxed) != 2) {
		uint64_t start = now(CLOCK_MONOTONIC);

		if ((rv = c->operation->run(&c->context)) != CKR_OK)
			fail("the operation", rv);
		if (atomic_load_explicit(&state, memory_order_relaxed) == 1)
			sample(c, now(CLOCK_MONOTONIC) - start);
	}
	return NULL;
}

static int ascending(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report(uint64_t *samples, size_t count, double seconds, double client, double server)
{
	if (count == 0)
		fail("nothing was measured", 0);
	qsort(samples, count, sizeof *samples, ascending);
#define QUANTILE(q) ((double)samples[(size_t)((double)(count - 1) * (q))] / 1000)
	printf("{\"op\":\"%s\",\"threads\":%d,\"count\":%zu,\"ops_per_s\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,"
	       "\"p999_us\":%.2f,\"client_cpu_us\":%.2f,\"server_cpu_us\":%.2f}\n",
	       options.op, options.threads, count, (double)count / seconds, QUANTILE(.5), QUANTILE(.99), QUANTILE(.999),
	       client / 1000 / (double)count, server / 1000 / (double)count);
}

/* How often an operation is measured at least, however long it takes, within reason: seconds. */
enum { LEAST = 1, REASON = 60 };

static void wait_for(const struct caller *callers)
{
	const uint64_t start = now(CLOCK_MONOTONIC);

	usleep((useconds_t)(options.seconds * 1e6));
	for (;;) {
		size_t count = 0;

		for (int i = 0; i < options.threads; i++)
			count += callers[i].count;
		if (count >= LEAST || now(CLOCK_MONOTONIC) - start > REASON * 1000000000ull)
			return;
		usleep(10000);
	}
}

static void measure(const struct operation *operation)
{
	struct caller *callers = calloc((size_t)options.threads, sizeof *callers);
	uint64_t start, end, client, server;
	uint64_t *all;
	size_t count = 0;

	pthread_barrier_init(&ready, NULL, (unsigned)options.threads + 1);
	for (int i = 0; i < options.threads; i++) {
		callers[i].operation = operation;
		if (pthread_create(&callers[i].thread, NULL, run, &callers[i]) != 0)
			fail("pthread_create", 0);
	}
	pthread_barrier_wait(&ready);
	usleep((useconds_t)(options.seconds * 1e6 / 5));
	client = now(CLOCK_PROCESS_CPUTIME_ID);
	server = cpu_of(options.server);
	start = now(CLOCK_MONOTONIC);
	atomic_store(&state, 1);
	wait_for(callers);
	atomic_store(&state, 2);
	end = now(CLOCK_MONOTONIC);
	client = now(CLOCK_PROCESS_CPUTIME_ID) - client;
	server = cpu_of(options.server) - server;
	for (int i = 0; i < options.threads; i++) {
		pthread_join(callers[i].thread, NULL);
		count += callers[i].count;
	}
	all = malloc((count + 1) * sizeof *all);
	count = 0;
	for (int i = 0; i < options.threads; i++) {
		memcpy(all + count, callers[i].samples, callers[i].count * sizeof *all);
		count += callers[i].count;
	}
	report(all, count, (double)(end - start) / 1e9, (double)client, (double)server);
}

/* Runs an operation once in this new process, tells how long that alone took, and stays for the answer. */
static void run_first(void)
{
	struct context context = {.slot = slot, .session = open_session()};
	const struct operation *operation = operation_find(options.first);
	uint64_t took = now(CLOCK_MONOTONIC);

	if (!operation || operation_prepare(operation, &context) != CKR_OK || operation->run(&context) != CKR_OK)
		_exit(1);
	took = now(CLOCK_MONOTONIC) - took;
	if (write(1, &took, sizeof took) != sizeof took)
		_exit(1);
}

/* What new processes need: from before the fork to the first signature, or, if alone is set, for the operation alone. */
static void measure_start(const char *first, int alone)
{
	const double until = options.seconds * 4;
	uint64_t samples[256];
	size_t count = 0;
	const uint64_t began = now(CLOCK_MONOTONIC), server = cpu_of(options.server);
	struct rusage usage;
	double children;
	char items[32];

	snprintf(items, sizeof items, "%lu", options.items);
	while (count < LENGTH(samples) && (count < LEAST || (double)(now(CLOCK_MONOTONIC) - began) / 1e9 < until)) {
		int ends[2], status;
		uint64_t start = now(CLOCK_MONOTONIC), took;
		pid_t pid;

		if (pipe(ends) != 0 || (pid = fork()) < 0)
			fail("fork", 0);
		if (pid == 0) {
			dup2(ends[1], 1);
			execl(options.self, options.self, "--module", options.module, "--token", options.token, "--pin",
			      options.pin, "--items", items, "--first", first, (char *)NULL);
			_exit(127);
		}
		close(ends[1]);
		if (read(ends[0], &took, sizeof took) != sizeof took)
			fail("the new process", 0);
		samples[count++] = alone ? took : now(CLOCK_MONOTONIC) - start;
		waitpid(pid, &status, 0);
		close(ends[0]);
	}
	getrusage(RUSAGE_CHILDREN, &usage);
	children = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
		   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
	report(samples, count, (double)(now(CLOCK_MONOTONIC) - began) / 1e9, children,
	       (double)(cpu_of(options.server) - server));
}

/* A number of /proc/self/status. */
static long status_of(const char *name)
{
	char line[256];
	long value = -1;
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof line, file))
		if (!strncmp(line, name, strlen(name)))
			value = atol(line + strlen(name));
	if (file)
		fclose(file);
	return value;
}

/* What the module costs a process that does nothing: after one signature and five seconds, for two seconds. */
static void measure_idle(void)
{
	struct context context = {0};
	const struct operation *operation = operation_find("p256-sign");
	const long kilobytes = status_of("VmRSS:"), threads = status_of("Threads:");
	uint64_t cpu;

	open_module();
	(void)log_in();
	context.slot = slot;
	context.session = open_session();
	if (operation_prepare(operation, &context) != CKR_OK || operation->run(&context) != CKR_OK)
		fail("the operation", 0);
	sleep(5);
	cpu = now(CLOCK_PROCESS_CPUTIME_ID);
	sleep(2);
	cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	printf("{\"kilobytes\":%ld,\"threads\":%ld,\"cpu_us_per_s\":%.1f}\n", status_of("VmRSS:") - kilobytes,
	       status_of("Threads:") - threads, (double)cpu / 2000);
}

static void parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(name, "--setup")) {
			options.setup = 1;
			continue;
		}
		if (!strcmp(name, "--tls")) {
			options.tls = 1;
			continue;
		}
		i++;
		if (!strcmp(name, "--module"))
			options.module = value;
		else if (!strcmp(name, "--token"))
			options.token = value;
		else if (!strcmp(name, "--pin"))
			options.pin = value;
		else if (!strcmp(name, "--op"))
			options.op = value;
		else if (!strcmp(name, "--first"))
			options.first = value;
		else if (!strcmp(name, "--items"))
			options.items = strtoul(value, NULL, 10);
		else if (!strcmp(name, "--threads"))
			options.threads = atoi(value);
		else if (!strcmp(name, "--seconds"))
			options.seconds = atof(value);
		else if (!strcmp(name, "--server"))
			options.server = (pid_t)atoi(value);
		else {
			fprintf(stderr, "driver: unknown argument %s; see the head of driver.c\n", name);
			exit(2);
		}
	}
	if (!options.module || !options.token || !options.pin || options.threads < 1) {
		fprintf(stderr, "driver: --module, --token and --pin are needed; see the head of driver.c\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	const struct operation *operation;
	CK_RV rv;

	options.self = "/proc/self/exe";
	parse(argc, argv);
	many = options.items ? options.items : 1;
	if (options.op && !strcmp(options.op, "start")) {
		measure_start("p256-sign", 0);
		return 0;
	}
	if (options.op && !strcmp(options.op, "list-cold")) {
		measure_start("list", 1);
		return 0;
	}
	if (options.op && !strcmp(options.op, "idle")) {
		measure_idle();
		return 0;
	}
	open_module();
	(void)log_in();
	if (options.setup) {
		rv = options.tls ? operations_setup_tls(open_session()) : operations_setup(open_session(), options.items);
		if (rv != CKR_OK)
			fail("setup", rv);
	} else if (options.first) {
		run_first();
	} else {
		operation = options.op ? operation_find(options.op) : NULL;
		if (!operation)
			fail("unknown operation", 0);
		measure(operation);
	}
	p11->C_Finalize(NULL);
	return 0;
}
