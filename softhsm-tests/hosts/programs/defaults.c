/* A process that installs no handlers dies of signals as it would without the module.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

static void die(int number)
{
	int ends[2];

	switch (number) {
	case SIGSEGV:
		*(volatile int *)NULL = 1;
		break;
	case SIGPIPE:
		CHECK(pipe(ends) == 0 && close(ends[0]) == 0);
		if (write(ends[1], "x", 1) < 0)
			_exit(3);
		break;
	default:
		kill(getpid(), number);
		pause();
	}
	_exit(2);
}

int main(int argc, char **argv)
{
	static const int fatal[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGPROF, SIGUSR1, SIGSEGV};
	CHECK(argc == 2);
	for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
		int status = 0;

		/* Who ran us may ignore it, as nohup does with SIGHUP. */
		signal(fatal[i], SIG_DFL);
		/* The child loads the module itself: it is no child of the module. */
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0) {
			CK_FUNCTION_LIST_3_2 *f = load(argv[1], RTLD_LOCAL);
			CK_ULONG count;

			/* What Go says about a fault of its host goes to standard error, as the standard library has it:
			 * only that signal may be spoken of. */
			if (fatal[i] == SIGSEGV)
				CHECK(freopen("/dev/null", "w", stderr) != NULL);
			EXPECT(f->C_Initialize(NULL), CKR_OK);
			EXPECT(f->C_GetSlotList(CK_FALSE, NULL, &count), CKR_OK);
			die(fatal[i]);
		}
		CHECK(waitpid(child, &status, 0) == child);
		if (!WIFSIGNALED(status) || (WTERMSIG(status) != fatal[i] && !(fatal[i] == SIGSEGV && WTERMSIG(status) == SIGABRT)))
			FAIL("status 0x%x after signal %d", status, fatal[i]);
	}
	/* Signals that are ignored stay ignored. */
	signal(SIGPIPE, SIG_IGN);
	CK_FUNCTION_LIST_3_2 *f = load(argv[1], RTLD_LOCAL);
	int ends[2];

	EXPECT(f->C_Initialize(NULL), CKR_OK);
	CHECK(pipe(ends) == 0 && close(ends[0]) == 0);
	CHECK(write(ends[1], "x", 1) < 0 && errno == EPIPE);
	return 0;
}
