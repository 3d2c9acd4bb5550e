/* Notices that the process has forked. A Go runtime does not survive that: its other threads are gone, so whatever
 * waits for one hangs. The child therefore must not reach this image's Go code, neither by a call nor by a signal nor
 * by the end of a thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE
#include "front.h"

#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Used where the kernel has no page to wipe; the fork handler clears it. */
static struct process unwiped;
struct process *anyhsm_process = &unwiped;

void *anyhsm_nowhere;

/* Whether this image saw a fork. Unlike the page it survives the next one. */
static atomic_bool forked;

/* The signals for which Go's runtime puts a handler of its own in front of the host's. */
static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGPIPE, SIGURG};
enum { SIGNALS = sizeof signals / sizeof *signals };
static struct sigaction host_actions[SIGNALS];

/* Where this image lies in memory, and in it the relocations and tables for the dynamic loader. */
static uintptr_t image_start, image_end, loader_start, loader_end;

/* Room for accesses that begin nowhere and go on. */
enum { NOWHERE = 1 << 20 };

/* Go's hook for the end of a thread that has called Go: it gives the thread's place back to the runtime. Weak, so that
 * a Go without it still links. */
extern void (*x_crosscall2_ptr)(void (*)(void *), void *, int, size_t) __attribute__((weak, visibility("hidden")));

static int find_image(struct dl_phdr_info *info, size_t size, void *data)
{
	const uintptr_t inside = (uintptr_t)data;
	uintptr_t start = UINTPTR_MAX, end = 0;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t from = info->dlpi_addr + segment->p_vaddr, to = from + segment->p_memsz;

		if (segment->p_type != PT_LOAD)
			continue;
		if (from < start)
			start = from;
		if (to > end)
			end = to;
	}
	if (inside < start || inside >= end)
		return 0;
	image_start = start;
	image_end = end;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		if (segment->p_type == PT_LOAD && segment->p_offset == 0 && segment->p_flags == PF_R) {
			loader_start = info->dlpi_addr + segment->p_vaddr;
			loader_end = loader_start + segment->p_memsz;
		}
	}
	return 1;
}

/* Takes Go's handlers away where they still stand, and leaves those that the host has installed since. */
static void restore_signals(void)
{
	for (int i = 0; i < SIGNALS; i++) {
		struct sigaction now;
		uintptr_t handler;

		if (sigaction(signals[i], NULL, &now) != 0)
			continue;
		handler = now.sa_flags & SA_SIGINFO ? (uintptr_t)now.sa_sigaction : (uintptr_t)now.sa_handler;
		if (handler >= image_start && handler < image_end)
			sigaction(signals[i], &host_actions[i], NULL);
	}
}

/* Puts the parent's image to rest. Runs in fork's child: only what is safe there. */
static void rest(void)
{
	atomic_store(&forked, 1);
	if (&x_crosscall2_ptr)
		x_crosscall2_ptr = NULL;
	restore_signals();
	anyhsm_sockets_abandon();
}

static void in_child(void)
{
	memset(anyhsm_process, 0, sizeof *anyhsm_process);
	atomic_store(&anyhsm_process->rested, 1);
	rest();
}

int anyhsm_forked(void)
{
	/* A child of a bare clone(2) has seen no fork handler, but its page is wiped. */
	if (!atomic_exchange(&anyhsm_process->rested, 1))
		rest();
	return atomic_load(&forked);
}

/* More than a megabyte that was read once and stays in the file; the host's memory need not hold it. */
__attribute__((constructor)) static void relocated(void)
{
	if (loader_start < loader_end)
		madvise((void *)loader_start, loader_end - loader_start, MADV_DONTNEED);
}

/* Priority 101 runs before Go's own constructor, which installs the signal handlers. */
__attribute__((constructor(101))) static void loaded(void)
{
	void *page = mmap(NULL, sizeof *anyhsm_process, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *nowhere = mmap(NULL, NOWHERE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (nowhere != MAP_FAILED)
		anyhsm_nowhere = nowhere;
	if (page != MAP_FAILED) {
		madvise(page, sizeof *anyhsm_process, MADV_WIPEONFORK);
		anyhsm_process = page;
	}
	atomic_store(&anyhsm_process->rested, 1);
	atomic_store(&anyhsm_process->engine, &anyhsm_own_functions);
	for (int i = 0; i < SIGNALS; i++)
		sigaction(signals[i], NULL, &host_actions[i]);
	dl_iterate_phdr(find_image, (void *)(uintptr_t)&loaded);
	anyhsm_copy_prepare((const void *)(uintptr_t)&loaded);
	pthread_atfork(NULL, NULL, in_child);
	anyhsm_signals_block();
}
