#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static crt_shim_log_level_fn *s_level;
static crt_shim_log_fn *s_log;

__attribute__((format(printf, 4, 5))) static int s_logger_log(
    struct aws_logger *logger,
    enum aws_log_level level,
    aws_log_subject_t subject,
    const char *format,
    ...) {
    (void)logger;
    /* On the stack: allocating here could fail, and would log when allocations are traced. */
    char text[CRT_SHIM_LOG_MAX_LENGTH + 1];
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (wanted < 0) {
        return AWS_OP_ERR;
    }
    size_t length = (size_t)wanted;
    if (length > CRT_SHIM_LOG_MAX_LENGTH) {
        static const char ellipsis[] = "...";
        length = CRT_SHIM_LOG_MAX_LENGTH;
        memcpy(text + length - (sizeof(ellipsis) - 1), ellipsis, sizeof(ellipsis) - 1);
    }
    s_log(level, subject, text, length);
    return AWS_OP_SUCCESS;
}

static enum aws_log_level s_logger_level(struct aws_logger *logger, aws_log_subject_t subject) {
    (void)logger;
    return s_level(subject);
}

static void s_logger_clean_up(struct aws_logger *logger) {
    /* Static, like everything that it uses. */
    (void)logger;
}

static struct aws_logger_vtable s_vtable = {
    .log = s_logger_log,
    .get_log_level = s_logger_level,
    .clean_up = s_logger_clean_up,
    /* set_log_level stays NULL: the callback alone decides. */
};

static struct aws_logger s_logger = {.vtable = &s_vtable};

void crt_shim_log_install(crt_shim_log_level_fn *level, crt_shim_log_fn *log) {
    s_level = level;
    s_log = log;
    aws_logger_set(&s_logger);
}
