/* The host's signal handlers get their signals as without the module: installed before it is loaded or after, with an
 * alternative stack or without, in threads that use the module and in threads that do not, in children too.
 * Arguments: module, "before" or "after", "onstack" or "plain".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

#include <setjmp.h>
#include <sys/time.h>

static const int asynchronous[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGPROF, SIGUSR1, SIGPIPE};
enum { ASYNCHRONOUS = sizeof asynchronous / sizeof *asynchronous };

static CK_FUNCTION_LIST_3_2 *f;
static atomic_int served[NSIG];
static _Thread_local sigjmp_buf out;

static void count(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	atomic_fetch_add(&served[number], 1);
}

/* As a JVM does for null checks: the handler of a fault does not return to it. */
static void leave(int number, siginfo_t *info, void *context)
{
	count(number, info, context);
	siglongjmp(out, 1);
}

static void install(int flags)
{
	struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART | flags};

	sigemptyset(&action.sa_mask);
	action.sa_sigaction = count;
	for (int i = 0; i < ASYNCHRONOUS; i++)
		CHECK(sigaction(asynchronous[i], &action, NULL) == 0);
	action.sa_sigaction = leave;
	action.sa_flags |= SA_NODEFER;
	CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
	CHECK(sigaction(SIGBUS, &action, NULL) == 0);
	CHECK(sigaction(SIGFPE, &action, NULL) == 0);
}

static void expect(int number, int times)
{
	if (atomic_load(&served[number]) < times)
		FAIL("signal %d (%s) was served %d times, want %d", number, strsignal(number), served[number], times);
	atomic_store(&served[number], 0);
}

static void use(void)
{
	CK_ULONG n = 0;

	if (f)
		EXPECT(f->C_GetSlotList(CK_FALSE, NULL, &n), CKR_OK);
}

static void dereference_null(void)
{
	if (sigsetjmp(out, 1) == 0)
		*(volatile int *)NULL = 1;
}

static void divide_by_zero(void)
{
	volatile int zero = 0;

	if (sigsetjmp(out, 1) == 0)
		zero = 7 / zero;
}

static void fault(void)
{
	for (int i = 0; i < 100; i++) {
		dereference_null();
		use();
	}
	expect(SIGSEGV, 100);
#if defined(__x86_64__) || defined(__i386__)
	for (int i = 0; i < 100; i++)
		divide_by_zero();
	expect(SIGFPE, 100);
#else
	(void)divide_by_zero;
#endif
}

static void serve(void)
{
	struct itimerval timer = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
	int ends[2], status;
	pid_t child;

	for (int i = 0; i < ASYNCHRONOUS; i++) {
		CHECK(kill(getpid(), asynchronous[i]) == 0);
		for (int wait = 0; wait < 1000 && atomic_load(&served[asynchronous[i]]) == 0; wait++)
			usleep(1000);
		expect(asynchronous[i], 1);
		CHECK(pthread_kill(pthread_self(), asynchronous[i]) == 0);
		expect(asynchronous[i], 1);
	}
	CHECK(pipe(ends) == 0 && close(ends[0]) == 0);
	CHECK(write(ends[1], "x", 1) < 0 && errno == EPIPE);
	close(ends[1]);
	expect(SIGPIPE, 1);
	child = vfork();
	if (child == 0)
		_exit(0);
	CHECK(waitpid(child, &status, 0) == child || errno == EINTR);
	expect(SIGCHLD, 1);
	/* Signals that find the thread in the module. */
	CHECK(setitimer(ITIMER_PROF, &timer, NULL) == 0);
	for (int i = 0; i < 2000000 && atomic_load(&served[SIGPROF]) < 20; i++)
		use();
	CHECK(setitimer(ITIMER_PROF, &off, NULL) == 0);
	expect(SIGPROF, f ? 20 : 0);
	fault();
}

static void *thread(void *stack)
{
	stack_t alternative = {.ss_sp = stack, .ss_size = 1 << 16};

	/* Hosts that ask for SA_ONSTACK have a stack of their own per thread. */
	if (stack)
		CHECK(sigaltstack(&alternative, NULL) == 0);
	/* Before this thread's first call, and after it. */
	fault();
	use();
	serve();
	return NULL;
}

static void in_thread(bool onstack)
{
	pthread_t id;
	void *stack = onstack ? malloc(1 << 16) : NULL;

	CHECK(pthread_create(&id, NULL, thread, stack) == 0);
	CHECK(pthread_join(id, NULL) == 0);
	free(stack);
}

int main(int argc, char **argv)
{
	bool before, onstack;
	pid_t child;

	CHECK(argc == 4);
	before = strcmp(argv[2], "before") == 0;
	onstack = strcmp(argv[3], "onstack") == 0;
	if (before) {
		install(onstack ? SA_ONSTACK : 0);
		serve();
	}
	f = load(argv[1], RTLD_LOCAL);
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	if (!before)
		install(onstack ? SA_ONSTACK : 0);
	serve();
	in_thread(onstack);
	/* A child is served before it initialises, and after. */
	child = fork();
	if (child == 0) {
		CK_FUNCTION_LIST_3_2 *module = f;

		f = NULL;
		serve();
		f = module;
		EXPECT(f->C_Initialize(NULL), CKR_OK);
		serve();
		in_thread(onstack);
		_exit(0);
	}
	join(child);
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	return 0;
}
