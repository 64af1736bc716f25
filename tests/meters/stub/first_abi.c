/* An NVML by somebody else: the oldest names only, one way to read power, two GPUs with one UUID. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef void *device_t;

static unsigned long long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* The driver is there while the file that STUB_DRIVER names is; without that variable, always. */
static int driver(void)
{
    const char *file = getenv("STUB_DRIVER");
    return file && access(file, F_OK) ? 9 : 0;
}

int nvmlInit(void) { return driver(); }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount(unsigned *n) { *n = 2; return driver(); }

int nvmlDeviceGetHandleByIndex(unsigned i, device_t *d)
{
    *d = (device_t)(0x100ul + i);
    return i < 2 ? 0 : 2;
}

int nvmlDeviceGetUUID(device_t d, char *s, unsigned n)
{
    (void)d;
    strncpy(s, "GPU-one-for-all", n);
    return 0;
}

int nvmlDeviceGetName(device_t d, char *s, unsigned n)
{
    (void)d;
    strncpy(s, "Somebody's \xff board", n); /* not UTF-8 */
    return 0;
}

int nvmlDeviceGetPowerUsage(device_t d, unsigned *mw)
{
    *mw = 100000 + 50000 * (unsigned)((unsigned long)d & 1);
    return driver();
}

#ifdef WITH_ENERGY
int nvmlDeviceGetTotalEnergyConsumption(device_t d, unsigned long long *mj)
{
    *mj = now_ms() * (100 + 50 * ((unsigned long)d & 1));
    return driver();
}
#endif

struct process { unsigned pid; unsigned long long bytes; };

int nvmlDeviceGetComputeRunningProcesses(device_t d, unsigned *n, struct process *p)
{
    (void)d;
    if (*n < 1) { *n = 1; return 7; }
    *n = 1;
    p[0].pid = 1;
    p[0].bytes = 1 << 20;
    return 0;
}
