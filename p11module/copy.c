/* Loads the image a second time. The dynamic loader knows images by name and inode, so a copy in a file of its own,
 * opened under a name not seen before, is mapped anew, with fresh variables and a fresh Go runtime.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE
#include "front.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* The file this image came from, held open from load time, so that an upgrade on disk changes nothing. */
static int image = -1;
static struct stat image_status;
/* Its absolute path, for hosts that close all descriptors when they become daemons. */
static char *image_path;

void anyhsm_copy_prepare(const void *address)
{
	Dl_info info;
	int fd;

	if (!dladdr(address, &info) || !info.dli_fname)
		return;
	image_path = realpath(info.dli_fname, NULL);
	fd = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && fd <= STDERR_FILENO) {
		/* A host may run without standard streams; ours must not become one. */
		const int low = fd;

		fd = fcntl(low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		close(low);
	}
	if (fd >= 0 && fstat(fd, &image_status) == 0)
		image = fd;
}

/* A descriptor of the image's file, and whether to close it. */
static int open_image(int *ours)
{
	struct stat status;

	*ours = 0;
	if (image >= 0 && fstat(image, &status) == 0 && status.st_dev == image_status.st_dev &&
	    status.st_ino == image_status.st_ino)
		return image;
	*ours = 1;
	return image_path ? open(image_path, O_RDONLY | O_CLOEXEC) : -1;
}

/* Copies without touching the source's offset, which is shared with the parent. */
static int fill(int from, int to)
{
	static const size_t size = 1 << 16;
	char *block = malloc(size);
	off_t done = 0;
	ssize_t n = -1;

	while (block) {
		n = pread(from, block, size, done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		for (ssize_t written = 0; written < n;) {
			const ssize_t w = write(to, block + written, (size_t)(n - written));

			if (w < 0 && errno == EINTR)
				continue;
			if (w <= 0) {
				free(block);
				return -1;
			}
			written += w;
		}
		done += n;
	}
	free(block);
	return n == 0 && done > 0 ? 0 : -1;
}

/* Loads from anonymous memory. */
static void *load_memory(int from)
{
	void *handle = NULL;
	char path[PATH_MAX];
	int fd = memfd_create("anyhsm-pkcs11.so", MFD_CLOEXEC | MFD_EXEC);

	if (fd < 0)
		fd = memfd_create("anyhsm-pkcs11.so", MFD_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (fill(from, fd) == 0) {
		/* A grandchild's descriptor may have the number of its parent's, and the loader goes by the name first: it
		 * would hand out the dead image. So the name grows until it is new. */
		size_t length = (size_t)snprintf(path, sizeof path, "/proc/self/fd");

		while (length + 32 < sizeof path) {
			void *known;

			snprintf(path + length, sizeof path - length, "/%d", fd);
			known = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
			if (!known) {
				handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
				break;
			}
			dlclose(known);
			length += (size_t)snprintf(path + length, sizeof path - length, "/.");
		}
	}
	close(fd);
	return handle;
}

/* Loads from a file that is gone at once, where memfd_create, /proc or memory that can be executed is not to be had. */
static void *load_file(int from)
{
	static const char *const directories[] = {"/dev/shm", "/tmp", "/var/tmp", "/run"};
	void *handle = NULL;

	for (size_t i = 0; !handle && i < sizeof directories / sizeof *directories; i++) {
		char path[64];
		int fd;

		snprintf(path, sizeof path, "%s/anyhsm-pkcs11-XXXXXX", directories[i]);
		fd = mkostemp(path, O_CLOEXEC);
		if (fd < 0)
			continue;
		if (fill(from, fd) == 0)
			handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		unlink(path);
		close(fd);
	}
	return handle;
}

const CK_FUNCTION_LIST_3_2 *anyhsm_copy_load(void)
{
	CK_VERSION version = {3, 2};
	CK_INTERFACE *interface = NULL;
	CK_C_GetInterface get;
	void *handle = NULL;
	int ours, from = open_image(&ours);

	if (from < 0)
		return NULL;
	handle = load_memory(from);
	if (!handle)
		handle = load_file(from);
	if (ours)
		close(from);
	if (!handle)
		return NULL;
	*(void **)&get = dlsym(handle, "C_GetInterface");
	if (!get || get((CK_UTF8CHAR_PTR)"PKCS 11", &version, &interface, 0) != CKR_OK)
		return NULL;
	return interface->pFunctionList;
}
