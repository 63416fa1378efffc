//! What the manual page of the program says that no flag does.

/// A heading, and what stands below it: terms with their texts; a text without a term is a paragraph.
pub(super) type Section = (&'static str, &'static [(&'static str, &'static str)]);

/// The sections that follow those of the flags.
pub(super) const SECTIONS: &[Section] = &[
    (
        "FSTAB",
        &[
            (
                "",
                "Installed as mount.mount-s3, the program is what mount(8) runs for lines of this kind:",
            ),
            (
                "s3://BUCKET/PREFIX/ /mnt/data mount-s3 _netdev,nosuid,nodev,nofail,rw,allow-delete 0 0",
                "Options are the flags without their hyphens, with commas between them. A comma, a \
                 quotation mark or a backslash in a value takes a backslash before it. ro stands for \
                 --read-only. The program stays in the background.",
            ),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            (
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, \
                 AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE, AWS_ROLE_ARN, \
                 AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_CREDENTIALS_FULL_URI, \
                 AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_EC2_METADATA_DISABLED",
                "Where credentials come from, as for other programs of AWS.",
            ),
            ("AWS_REGION", "As --region, which counts first."),
            (
                "AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL",
                "As --endpoint-url, which counts first, then the former. The latter is also where \
                 credentials are asked for, unless AWS_ENDPOINT_URL_STS or AWS_ENDPOINT_URL_SSO names \
                 another host, without https://.",
            ),
            ("AWS_CA_BUNDLE", "As --ca-bundle, which counts first."),
            (
                "HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
                "The proxy for connections with TLS, that for those without, and a list of hosts, \
                 domains and networks that are reached without one. In lower case they count first. A \
                 proxy is a URL with a port, and may hold a user and a password.",
            ),
            (
                "AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
                "Where the metadata service of EC2 instances is.",
            ),
            (
                "AWS_MAX_ATTEMPTS",
                "Attempts at one request, 10 by default.",
            ),
            (
                "MOUNTPOINT_LOG",
                "What is logged: a level (error, warn, info, debug, trace, off), or several with their \
                 targets, such as warn,mount_s3=debug,crt::http=trace. Counts before --debug and \
                 --debug-crt.",
            ),
            (
                "NOTIFY_SOCKET",
                "Where systemd(1) is told that the mount answers (Type=notify, with --foreground).",
            ),
            (
                "MOUNT_S3_CORE_DUMPS",
                "1 lets the kernel write the memory of the program to the disk when it fails, with \
                 the credentials and the data in it; otherwise it does not.",
            ),
            (
                "MOUNT_S3_CACHE_PASSTHROUGH",
                "off lets this process answer reads of files that the cache has as a whole; otherwise \
                 the kernel reads them by itself where it can.",
            ),
            (
                "UNSTABLE_MOUNTPOINT_PID_FILE",
                "File that gets the number of the process when the mount answers.",
            ),
            (
                "UNSTABLE_MOUNTPOINT_MAX_BACKGROUND, UNSTABLE_MOUNTPOINT_CONGESTION_THRESHOLD",
                "Requests that the kernel may send ahead of need, 64 by default, and from how many on it \
                 takes the mount for congested.",
            ),
            (
                "UNSTABLE_MOUNTPOINT_MAX_PREFETCH_WINDOW_SIZE",
                "The most bytes by which an open file is fetched ahead.",
            ),
            (
                "UNSTABLE_CRT_EVENTLOOP_THREADS",
                "Threads that send and receive.",
            ),
        ],
    ),
    (
        "SIGNALS",
        &[
            (
                "SIGINT, SIGTERM, SIGHUP",
                "Unmount, and end the program when what was closed is stored.",
            ),
            (
                "SIGUSR2",
                "Log more, in four steps, and at the fifth signal as at first again.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "The mount has ended; in the background: it answers."),
            (
                "1",
                "It could not be made. Standard error says why, and what helps.",
            ),
            ("2", "The command line is wrong."),
        ],
    ),
];
