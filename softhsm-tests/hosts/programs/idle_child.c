/* Children that never initialise end as they would without the module: by exit, by the end of their only thread, by a
 * signal.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

static CK_FUNCTION_LIST_3_2 *f;

/* The parent's image is at rest: its handlers of faults are gone, and what the host had is back. */
static void handlers_are_the_hosts(void)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGPIPE, SIGURG};

	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
		struct sigaction action;

		CHECK(sigaction(faults[i], NULL, &action) == 0);
		CHECK(action.sa_handler == SIG_DFL);
	}
}

static void end_with(int how)
{
	CK_ULONG count = 0;
	int ends[2];

	switch (how) {
	case 0:
		exit(0);
	case 1:
		_exit(0);
	case 2:
		/* Go's destructor of the thread must not run in a dead image. */
		pthread_exit(NULL);
	case 3:
		EXPECT(f->C_GetSlotList(CK_FALSE, NULL, &count), CKR_CRYPTOKI_NOT_INITIALIZED);
		exit(0);
	case 4:
		CHECK(pipe(ends) == 0);
		close(ends[0]);
		if (write(ends[1], "x", 1) < 0)
			_exit(1);
		_exit(2);
	case 5:
		*(volatile int *)NULL = 1;
		_exit(2);
	default:
		execl("/bin/true", "true", (char *)NULL);
		_exit(3);
	}
}

static void *fork_here(void *unused)
{
	static const int signals[] = {0, 0, 0, 0, SIGPIPE, SIGSEGV, 0};

	(void)unused;
	for (int how = 0; how < 7; how++) {
		int status = 0;
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0) {
			handlers_are_the_hosts();
			end_with(how);
		}
		for (int i = 0; waitpid(child, &status, WNOHANG) == 0; i++) {
			if (i == 2000) {
				kill(child, SIGKILL);
				FAIL("child that ends way %d hangs", how);
			}
			usleep(10000);
		}
		if (signals[how] ? !WIFSIGNALED(status) || WTERMSIG(status) != signals[how]
				 : !WIFEXITED(status) || WEXITSTATUS(status) != 0)
			FAIL("child that ends way %d has status 0x%x", how, status);
	}
	return NULL;
}

static atomic_bool done;

static void *pass_through(void *unused)
{
	CK_INFO info;

	(void)unused;
	f->C_GetInfo(&info);
	return NULL;
}

/* Threads that come, call once and go: a child may be born while one of them holds a lock of Go's runtime. */
static void *churn(void *unused)
{
	pthread_t thread;

	while (!atomic_load(&done)) {
		CHECK(pthread_create(&thread, NULL, pass_through, NULL) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	return unused;
}

static void fork_in_churn(void)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, churn, NULL) == 0);
	for (int i = 0; i < 300; i++) {
		pid_t child = fork();

		if (child == 0)
			end_with(2);
		join(child);
	}
	atomic_store(&done, true);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(int argc, char **argv)
{
	pthread_t thread;

	CHECK(argc == 2);
	f = load(argv[1], RTLD_LOCAL);
	fork_here(NULL);
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	fork_here(NULL);
	/* A thread that has never called the module. */
	CHECK(pthread_create(&thread, NULL, fork_here, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	fork_in_churn();
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	fork_here(NULL);
	return 0;
}
