/* A host as nginx's master is: it blocks signals and lets them through only where it waits, in sigsuspend, so that none
 * gets lost between looking and waiting. That holds only while its own mask stays as it set it, and while no thread of
 * the module takes a signal in its place. Arguments: module.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

#include <dirent.h>
#include <sys/syscall.h>

/* All that hosts wait for; those of faults, of Go's scheduler and of glibc are not. */
static const int waited[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGCHLD, SIGCONT, SIGTSTP,
	SIGTTIN, SIGTTOU, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGWINCH, SIGIO, SIGPWR};
enum { WAITED = sizeof waited / sizeof *waited };

static atomic_int ended;
/* Set while the host waits, which is the only time at which it takes a signal. */
static volatile sig_atomic_t waiting;

static void reap(int number)
{
	const int saved = errno;

	(void)number;
	if (syscall(SYS_gettid) != getpid())
		FAIL("a thread of the module took a signal that the host waits for");
	if (!waiting)
		FAIL("a signal was handled while the host blocked it");
	while (waitpid(-1, NULL, WNOHANG) > 0)
		atomic_fetch_add(&ended, 1);
	errno = saved;
}

static unsigned long long blocked(const char *task)
{
	unsigned long long mask = 0;
	char path[300], line[200];
	FILE *file;

	snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
	file = fopen(path, "r");
	if (!file)
		return ~0ULL; /* The thread has ended. */
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "SigBlk: %llx", &mask) == 1)
			break;
	fclose(file);
	return mask;
}

/* No thread but the host's own takes a signal that hosts wait for. */
static void threads_block(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	int others = 0;

	CHECK(tasks != NULL);
	while ((task = readdir(tasks))) {
		unsigned long long mask;

		if (task->d_name[0] == '.' || atoi(task->d_name) == (int)syscall(SYS_gettid))
			continue;
		others++;
		mask = blocked(task->d_name);
		for (int i = 0; i < WAITED; i++)
			if (!(mask >> (waited[i] - 1) & 1))
				FAIL("thread %s of the module takes signal %d (%s): mask %llx", task->d_name, waited[i],
					strsignal(waited[i]), mask);
	}
	closedir(tasks);
	CHECK(others > 0);
}

/* The host's mask is what the host made it. */
static void mask_is(const sigset_t *want, const char *when)
{
	sigset_t now;

	CHECK(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0);
	for (int i = 0; i < WAITED; i++)
		if (sigismember(&now, waited[i]) != sigismember(want, waited[i]))
			FAIL("%s, signal %d (%s) is %s", when, waited[i], strsignal(waited[i]),
				sigismember(&now, waited[i]) ? "blocked" : "not blocked");
}

static void use(CK_FUNCTION_LIST_3_2 *f)
{
	CK_ULONG n = 0;

	EXPECT(f->C_GetSlotList(CK_FALSE, NULL, &n), CKR_OK);
}

static sigset_t none, all;
static CK_FUNCTION_LIST_3_2 *used;

static void *in_thread(void *unused)
{
	(void)unused;
	/* A thread inherits what is blocked, and its first call changes nothing. */
	mask_is(&all, "in a thread");
	use(used);
	mask_is(&all, "in a thread, after its first call");
	return NULL;
}

/* Children end while the host is in the module; each must wake it, or it waits for ever. */
static void wait_for_children(CK_FUNCTION_LIST_3_2 *f)
{
	enum { ROUNDS = 100, CHILDREN = 4 };

	for (int round = 0; round < ROUNDS; round++) {
		atomic_store(&ended, 0);
		for (int i = 0; i < CHILDREN; i++) {
			const pid_t child = fork();

			CHECK(child >= 0);
			if (child == 0)
				_exit(0);
		}
		while (atomic_load(&ended) < CHILDREN) {
			use(f);
			alarm(60);
			waiting = 1;
			sigsuspend(&none);
			waiting = 0;
			alarm(0);
		}
	}
}

static void too_long(int number)
{
	(void)number;
	FAIL("the host was not woken when a child had ended");
}

static void live(CK_FUNCTION_LIST_3_2 *f)
{
	pthread_t id;

	used = f;
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	mask_is(&all, "after C_Initialize");
	use(f);
	mask_is(&all, "after a call");
	threads_block();
	CHECK(pthread_create(&id, NULL, in_thread, NULL) == 0);
	CHECK(pthread_join(id, NULL) == 0);
	wait_for_children(f);
	threads_block();
}

int main(int argc, char **argv)
{
	CK_FUNCTION_LIST_3_2 *f;
	pid_t child;

	CHECK(argc == 2);
	sigemptyset(&none);
	sigemptyset(&all);
	for (int i = 0; i < WAITED; i++)
		sigaddset(&all, waited[i]);
	signal(SIGCHLD, reap);
	signal(SIGALRM, too_long);
	/* Loading leaves the mask as it is, whatever it is. */
	CHECK(pthread_sigmask(SIG_SETMASK, &none, NULL) == 0);
	f = load(argv[1], RTLD_LOCAL);
	mask_is(&none, "after dlopen");
	CHECK(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0);
	live(f);
	/* And in a child, which loads a copy. */
	child = fork();
	if (child == 0) {
		live(f);
		_exit(0);
	}
	signal(SIGCHLD, SIG_DFL);
	join(child);
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	return 0;
}
