/* Children to which the easy way to a copy of the library is barred.
 * Arguments: module, "descriptors" (all closed), "memfd" (forbidden by a filter), "clone" (a bare system call, which no
 * fork handler sees).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void forbid_memfd(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

int main(int argc, char **argv)
{
	CK_FUNCTION_LIST_3_2 *f;
	pid_t child;
	bool bare;

	CHECK(argc == 3);
	bare = strcmp(argv[2], "clone") == 0;
	f = load(argv[1], RTLD_LOCAL);
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	child = bare ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
	if (child == 0) {
		if (strcmp(argv[2], "descriptors") == 0)
			for (int fd = 3; fd < 1024; fd++)
				close(fd);
		if (strcmp(argv[2], "memfd") == 0)
			forbid_memfd();
		live_again(f, NULL);
		EXPECT(f->C_Finalize(NULL), CKR_OK);
		_exit(0);
	}
	join(child);
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	return 0;
}
