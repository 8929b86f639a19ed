/* Preloaded, it sets the wall clock of a process off by the seconds in the file that WALL_CLOCK names. */

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile const long *seconds;

__attribute__((constructor)) static void find(void)
{
    int file = open(getenv("WALL_CLOCK"), O_RDONLY);
    seconds = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    long result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && seconds)
        time->tv_sec += *seconds;
    return (int)result;
}
