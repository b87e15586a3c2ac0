/* Preloaded into a test: stands for a GPIO chip and a HID relay behind ioctl(2), reading the
 * arguments through the kernel's own headers. Each call is written to the file SHIM_LOG. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <linux/hidraw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define CHIP "/dev/gpiochip97"
#define LINES 8
#define TAKEN 6

static int level[LINES], requested = -1;
static unsigned char relays = 0x02;

static void say(const char *format, ...)
{
    FILE *log = fopen(getenv("SHIM_LOG"), "a");
    va_list arguments;
    va_start(arguments, format);
    vfprintf(log, format, arguments);
    va_end(arguments);
    fclose(log);
}

char *realpath(const char *path, char *resolved)
{
    char *(*next)(const char *, char *) = dlsym(RTLD_NEXT, "realpath");
    return strcmp(path, CHIP) ? next(path, resolved) : strdup(CHIP);
}

int open64(const char *path, int flags, ...)
{
    int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    va_list arguments;
    va_start(arguments, flags);
    int mode = va_arg(arguments, int);
    va_end(arguments);
    return next(strcmp(path, CHIP) ? path : "/dev/null", flags, mode);
}

/* What a line is to be, and the level it is to have. */
static void configure(const char *call, int line, const struct gpio_v2_line_config *config)
{
    say("%s line %d%s%s%s", call, line, config->flags & GPIO_V2_LINE_FLAG_OUTPUT ? " output" : "",
        config->flags & GPIO_V2_LINE_FLAG_INPUT ? " input" : "",
        config->flags & GPIO_V2_LINE_FLAG_ACTIVE_LOW ? " active-low" : "");
    /* As the kernel has it: an output whose level is not told is low. */
    if (config->flags & GPIO_V2_LINE_FLAG_OUTPUT)
        level[line] = 0;
    for (unsigned at = 0; at < config->num_attrs; at++) {
        const struct gpio_v2_line_config_attribute *attribute = &config->attrs[at];
        if (attribute->attr.id == GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES && attribute->mask & 1)
            level[line] = attribute->attr.values & 1;
    }
    if (config->flags & GPIO_V2_LINE_FLAG_OUTPUT)
        say(" level %d", level[line]);
    say("\n");
}

static int gpio(unsigned long request, void *argument)
{
    switch (request) {
    case GPIO_GET_CHIPINFO_IOCTL: {
        struct gpiochip_info *info = argument;
        memset(info, 0, sizeof *info);
        strcpy(info->name, "gpiochip97");
        info->lines = LINES;
        return 0;
    }
    case GPIO_V2_GET_LINEINFO_IOCTL: {
        struct gpio_v2_line_info *info = argument;
        unsigned offset = info->offset;
        memset(info, 0, sizeof *info);
        info->offset = offset;
        info->flags = GPIO_V2_LINE_FLAG_OUTPUT | (offset == TAKEN ? GPIO_V2_LINE_FLAG_USED : 0);
        strcpy(info->consumer, offset == TAKEN ? "heartbeat" : "");
        return 0;
    }
    case GPIO_V2_GET_LINE_IOCTL: {
        struct gpio_v2_line_request *wanted = argument;
        if (wanted->num_lines != 1 || wanted->offsets[0] >= LINES)
            return errno = EINVAL, -1;
        if (wanted->offsets[0] == TAKEN)
            return errno = EBUSY, -1;
        requested = wanted->offsets[0];
        say("consumer %s ", wanted->consumer);
        configure("request", requested, &wanted->config);
        wanted->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        return 0;
    }
    case GPIO_V2_LINE_SET_CONFIG_IOCTL:
        configure("config", requested, argument);
        return 0;
    case GPIO_V2_LINE_SET_VALUES_IOCTL: {
        struct gpio_v2_line_values *values = argument;
        if (values->mask != 1)
            return errno = EINVAL, -1;
        level[requested] = values->bits & 1;
        say("write line %d level %d\n", requested, level[requested]);
        return 0;
    }
    case GPIO_V2_LINE_GET_VALUES_IOCTL: {
        struct gpio_v2_line_values *values = argument;
        values->bits = level[requested] & values->mask;
        say("read line %d\n", requested);
        return 0;
    }
    }
    return errno = ENOTTY, -1;
}

int ioctl(int fd, unsigned long request, ...)
{
    int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    va_list arguments;
    va_start(arguments, request);
    unsigned char *report = va_arg(arguments, void *);
    va_end(arguments);
    if (_IOC_TYPE(request) == 0xB4)
        return gpio(request, report);
    if (request == HIDIOCSFEATURE(9)) {
        say("feature %02x %02x %02x\n", report[0], report[1], report[2]);
        if (report[0] != 0 || (report[1] != 0xFF && report[1] != 0xFD))
            return errno = EPIPE, -1;
        /* A relay of two channels takes a third's commands and does nothing. */
        if (report[2] == 1 || report[2] == 2) {
            unsigned char bit = 1 << (report[2] - 1);
            relays = report[1] == 0xFF ? relays | bit : relays & ~bit;
        }
        return 9;
    }
    if (request == HIDIOCGFEATURE(9)) {
        /* The number of the report stays before it. */
        memcpy(report + 1, "HURTM\0\0", 7);
        report[8] = relays;
        return 9;
    }
    return next(fd, request, report);
}
