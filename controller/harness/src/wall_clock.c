/* Moves the wall clock of a process and of those it starts by as many seconds as a file says, and
 * no other clock. To be preloaded; the file is mapped, so that a confined process sees it too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *shift;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_spawn)(pid_t *, const char *, const posix_spawn_file_actions_t *,
                         const posix_spawnattr_t *, char *const[], char *const[]);
static int (*real_execvp)(const char *, char *const[]);
static char *own[2];

__attribute__((constructor)) static void map(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_spawn = dlsym(RTLD_NEXT, "posix_spawnp");
    real_execvp = dlsym(RTLD_NEXT, "execvp");
    int file = open(getenv("WALL_CLOCK"), O_RDONLY | O_CLOEXEC);
    void *mapped = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) abort();
    shift = mapped;
    close(file);
    for (char **entry = environ; *entry; entry++) {
        if (!strncmp(*entry, "LD_PRELOAD=", 11)) own[0] = strdup(*entry);
        if (!strncmp(*entry, "WALL_CLOCK=", 11)) own[1] = strdup(*entry);
    }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = real_clock_gettime(clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}

/* A child whose environment was cleared shall have this clock as well. */
static char **with_own(char *const environment[]) {
    size_t count = 0;
    while (environment && environment[count]) count++;
    char **whole = calloc(count + 3, sizeof *whole);
    if (count) memcpy(whole, environment, count * sizeof *whole);
    whole[count] = own[0];
    whole[count + 1] = own[1];
    return whole;
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const arguments[],
                 char *const environment[]) {
    return real_spawn(pid, file, actions, attributes, arguments, with_own(environment));
}

int execvp(const char *file, char *const arguments[]) {
    environ = with_own(environ);
    return real_execvp(file, arguments);
}
