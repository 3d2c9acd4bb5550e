/* Keeps the host's signals the host's. A signal for the process goes to any thread that does not block it, and a host
 * such as nginx lets signals through only where it waits for them: one that a thread of Go's runtime takes, or that finds
 * the host's thread between two looks, wakes nobody. So Go's threads block all that may be blocked, and the host's mask
 * stays as it is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE
#include "front.h"

#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

/* An entry of the runtime's table of signals. */
struct entry {
	int32_t flags;
	const char *text;
	intptr_t length;
};

/* The flags of the runtime's table that matter here: "let os/signal have it", "unblock it in every thread that runs Go,
 * the host's too", "its default is to be ignored". */
enum { NOTIFY = 1 << 0, UNBLOCK = 1 << 7, IGNORE = 1 << 8 };

/* What the runtime unblocks without need: neither is a fault, nor the scheduler's. There is no switch for it, so the
 * table is changed before the runtime starts. A table that looks otherwise is left alone; softhsm-tests/hosts notices. */
static const struct entry freed[] = {
	{NOTIFY | UNBLOCK | IGNORE, "SIGCHLD: child status has changed", 33},
	{NOTIFY | UNBLOCK, "SIGPROF: profiling alarm clock", 30},
};

static void search(struct entry *at, const struct entry *end, uintptr_t image_start, uintptr_t image_end)
{
	for (uintptr_t p = (uintptr_t)at; p + sizeof *at <= (uintptr_t)end; p += sizeof(void *)) {
		struct entry *e = (struct entry *)p;

		for (size_t i = 0; i < sizeof freed / sizeof *freed; i++) {
			const uintptr_t text = (uintptr_t)e->text;

			if (e->length == freed[i].length && e->flags == freed[i].flags && text >= image_start &&
			    text + (size_t)e->length <= image_end && memcmp(e->text, freed[i].text, (size_t)e->length) == 0)
				e->flags &= ~UNBLOCK;
		}
	}
}

static int search_image(struct dl_phdr_info *info, size_t size, void *data)
{
	const uintptr_t inside = (uintptr_t)data;
	uintptr_t start = UINTPTR_MAX, end = 0, relro_start = 0, relro_end = 0;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		const uintptr_t from = info->dlpi_addr + segment->p_vaddr, to = from + segment->p_memsz;

		if (segment->p_type == PT_GNU_RELRO) {
			relro_start = from;
			relro_end = to;
		}
		if (segment->p_type != PT_LOAD)
			continue;
		start = from < start ? from : start;
		end = to > end ? to : end;
	}
	if (inside < start || inside >= end)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t from = info->dlpi_addr + segment->p_vaddr;
		const uintptr_t to = from + segment->p_filesz;

		if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_W))
			continue;
		/* What is only written while it is loaded begins the segment, and cannot be changed any more. */
		if (from >= relro_start && from < relro_end)
			from = (relro_end + sizeof(void *) - 1) & ~(sizeof(void *) - 1);
		search((struct entry *)from, (const struct entry *)to, start, end);
	}
	return 1;
}

static sigset_t host_mask;
static int blocked;

void anyhsm_signals_block(void)
{
	sigset_t all;

	dl_iterate_phdr(search_image, (void *)(uintptr_t)&anyhsm_signals_block);
	/* The runtime's first thread inherits the mask of the one that loads, and gives it to all others. */
	sigfillset(&all);
	blocked = pthread_sigmask(SIG_SETMASK, &all, &host_mask) == 0;
}

/* Without a priority, so after Go's own constructor, which comes first in the link. */
__attribute__((constructor)) static void loaded(void)
{
	if (blocked)
		pthread_sigmask(SIG_SETMASK, &host_mask, NULL);
	blocked = 0;
}
