/* Measures one operation of any PKCS#11 module and prints one line of JSON: p50, p99, p99.9, operations a second, and
 * the CPU that the caller and a server spent for one operation.
 *
 * driver --module LIB --token LABEL --pin PIN --setup                     make the keys that the operations use
 * driver --module LIB --token LABEL --pin PIN --op OP [--threads N] [--seconds S] [--server PID]
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
	int threads, setup, first;
	double seconds;
	pid_t server;
} options = {.threads = 1, .seconds = 0.4};

static atomic_int state; /* 0 warming up, 1 measuring, 2 over */
static pthread_barrier_t ready;
static CK_SLOT_ID slot;

struct caller {
	pthread_t thread;
	const struct operation *operation;
	struct context context;
	uint32_t *samples; /* nanoseconds */
	size_t count, room;
};

static void fail(const char *what, CK_RV rv)
{
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
	c->samples[c->count++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
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
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void report(uint32_t *samples, size_t count, double seconds, double client, double server)
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

static void measure(const struct operation *operation)
{
	struct caller *callers = calloc((size_t)options.threads, sizeof *callers);
	uint64_t start, end, client, server;
	uint32_t *all;
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
	usleep((useconds_t)(options.seconds * 1e6));
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

/* From before the fork to the first signature of the new process. */
static void measure_start(void)
{
	const double until = options.seconds * 4;
	uint32_t samples[256];
	size_t count = 0;
	const uint64_t began = now(CLOCK_MONOTONIC), server = cpu_of(options.server);
	struct rusage usage;
	double children;

	while (count < 256 && (count < 5 || (double)(now(CLOCK_MONOTONIC) - began) / 1e9 < until)) {
		int ends[2], status;
		char byte;
		uint64_t start = now(CLOCK_MONOTONIC);
		pid_t pid;

		if (pipe(ends) != 0 || (pid = fork()) < 0)
			fail("fork", 0);
		if (pid == 0) {
			dup2(ends[1], 1);
			execl(options.self, options.self, "--module", options.module, "--token", options.token, "--pin",
			      options.pin, "--first", (char *)NULL);
			_exit(127);
		}
		close(ends[1]);
		if (read(ends[0], &byte, 1) != 1 || byte != '!')
			fail("the new process", 0);
		samples[count++] = (uint32_t)(now(CLOCK_MONOTONIC) - start);
		waitpid(pid, &status, 0);
		close(ends[0]);
	}
	getrusage(RUSAGE_CHILDREN, &usage);
	children = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
		   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
	report(samples, count, (double)(now(CLOCK_MONOTONIC) - began) / 1e9, children,
	       (double)(cpu_of(options.server) - server));
}

static void parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(name, "--setup")) {
			options.setup = 1;
			continue;
		}
		if (!strcmp(name, "--first")) {
			options.first = 1;
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
	if (options.op && !strcmp(options.op, "start")) {
		measure_start();
		return 0;
	}
	open_module();
	(void)log_in();
	if (options.setup) {
		if ((rv = operations_setup(open_session())) != CKR_OK)
			fail("setup", rv);
	} else if (options.first) {
		struct context context = {.slot = slot, .session = open_session()};

		operation = operation_find("p256-sign");
		if (operation_prepare(operation, &context) != CKR_OK || operation->run(&context) != CKR_OK ||
		    write(1, "!", 1) != 1)
			return 1;
	} else {
		operation = options.op ? operation_find(options.op) : NULL;
		if (!operation)
			fail("unknown operation", 0);
		measure(operation);
	}
	p11->C_Finalize(NULL);
	return 0;
}
