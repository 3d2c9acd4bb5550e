/* The module leaves the process as it was: the environment, the directory, the standard streams; and every descriptor
 * it opens closes on exec. What it prints, the test sees.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

extern char **environ;

static bool before[1024];

static void descriptors(bool record)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;

	CHECK(directory != NULL);
	while ((entry = readdir(directory))) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] == '.' || fd == dirfd(directory) || fd >= 1024)
			continue;
		if (record)
			before[fd] = true;
		else if (!before[fd] && !(fcntl(fd, F_GETFD) & FD_CLOEXEC)) {
			char target[256] = "";

			readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
			FAIL("descriptor %d (%s) stays open on exec", fd, target);
		}
	}
	closedir(directory);
}

static char *environment(void)
{
	size_t size = 0;
	char *all = NULL;
	FILE *to = open_memstream(&all, &size);

	for (char **variable = environ; *variable; variable++)
		fprintf(to, "%s\n", *variable);
	fclose(to);
	return all;
}

static void use(CK_FUNCTION_LIST_3_2 *f)
{
	CK_SLOT_ID slots[16];
	CK_ULONG count = 16;
	CK_SESSION_HANDLE session;
	CK_BYTE bytes[16];

	/* Go's start, in a thread of its own, reads a file without CLOEXEC; the first call comes after it. */
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	EXPECT(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
	if (count > 0) {
		EXPECT(f->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session), CKR_OK);
		EXPECT(f->C_GenerateRandom(session, bytes, sizeof bytes), CKR_OK);
	}
	descriptors(false);
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	descriptors(false);
}

int main(int argc, char **argv)
{
	char *variables = environment(), *directory = getcwd(NULL, 0);
	mode_t mask = umask(077);
	CK_FUNCTION_LIST_3_2 *f;
	pid_t child;

	CHECK(argc == 2);
	/* Like a daemon without standard input. */
	close(STDIN_FILENO);
	descriptors(true);
	f = load(argv[1], RTLD_LOCAL);
	use(f);
	child = fork();
	if (child == 0) {
		use(f);
		_exit(0);
	}
	join(child);
	CHECK(strcmp(environment(), variables) == 0);
	CHECK(strcmp(getcwd(NULL, 0), directory) == 0);
	CHECK(umask(mask) == 077);
	return 0;
}
