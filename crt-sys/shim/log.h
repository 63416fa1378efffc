#ifndef CRT_SHIM_LOG_H
#define CRT_SHIM_LOG_H

#include <aws/common/logging.h>

/*
 * A logger for the Common Runtime that hands formatted text to callbacks. It exists because the
 * runtime's own interface is variadic, which Rust can't implement.
 */

/*
 * Takes one message: `length` bytes at `text`, not terminated by NUL, valid only during the call,
 * most likely but not surely UTF-8. Called on any thread, several at a time. Must not unwind and
 * must not call the Common Runtime.
 */
typedef void crt_shim_log_fn(enum aws_log_level level, aws_log_subject_t subject, const char *text, size_t length);

/*
 * The most detailed level wanted for `subject`; AWS_LL_NONE for none at all. Called before every
 * message, on any thread: must be cheap, must not unwind and must not call the Common Runtime.
 */
typedef enum aws_log_level crt_shim_log_level_fn(aws_log_subject_t subject);

/*
 * Makes the two callbacks the process's logger, for good. Neither may be NULL. Call once, before
 * aws_s3_library_init(): aws_logger_set() is not thread-safe.
 */
void crt_shim_log_install(crt_shim_log_level_fn *level, crt_shim_log_fn *log);

/* The longest text that a message can have, in bytes; longer ones end in "...". */
#define CRT_SHIM_LOG_MAX_LENGTH 4095

#endif /* CRT_SHIM_LOG_H */
