/* The connections to the daemon, by descriptor, so that a child can close its copies: a connection that a child holds
 * open does not end when the parent or the daemon closes it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "front.h"

#include <sys/stat.h>
#include <unistd.h>

/* More connections than a client opens. One that finds no room is not closed in a child, nothing worse. */
enum { SOCKETS = 256, FREE = 0, CLAIMED = -1 };

static struct {
	/* The descriptor + 1. */
	atomic_int fd;
	/* Which socket it was: a descriptor that became the host's in between is left alone. */
	dev_t device;
	ino_t inode;
} sockets[SOCKETS];

void anyhsm_socket_opened(int fd)
{
	struct stat status;

	if (fd < 0 || fstat(fd, &status) != 0)
		return;
	for (int i = 0; i < SOCKETS; i++) {
		int expected = FREE;

		if (!atomic_compare_exchange_strong(&sockets[i].fd, &expected, CLAIMED))
			continue;
		sockets[i].device = status.st_dev;
		sockets[i].inode = status.st_ino;
		atomic_store(&sockets[i].fd, fd + 1);
		return;
	}
}

void anyhsm_socket_closed(int fd)
{
	for (int i = 0; fd >= 0 && i < SOCKETS; i++) {
		int entry = fd + 1;

		atomic_compare_exchange_strong(&sockets[i].fd, &entry, FREE);
	}
}

void anyhsm_sockets_abandon(void)
{
	for (int i = 0; i < SOCKETS; i++) {
		const int fd = atomic_exchange(&sockets[i].fd, FREE) - 1;
		struct stat status;

		if (fd < 0 || fstat(fd, &status) != 0)
			continue;
		if (status.st_dev == sockets[i].device && status.st_ino == sockets[i].inode)
			close(fd);
	}
}
