//! The flags that say what is asked for new objects.

use clap::{Args, ValueEnum};

use super::args::OBJECTS;
use super::values::{parse_key_arn, parse_word};

/// What is asked for new objects.
#[derive(Debug, Clone, Args)]
pub(super) struct ObjectArgs {
    /// Storage class of new objects [default: S3's]
    #[arg(long, help_heading = OBJECTS, value_name = "CLASS", value_parser = parse_word)]
    pub(super) storage_class: Option<String>,

    /// How S3 encrypts new objects [default: as the bucket says]
    #[arg(long, help_heading = OBJECTS, value_name = "ENCRYPTION")]
    pub(super) sse: Option<Sse>,

    /// ARN of the key that encrypts new objects, with --sse aws:kms or aws:kms:dsse
    #[arg(long, help_heading = OBJECTS, value_name = "ARN", value_parser = parse_key_arn)]
    #[arg(requires = "sse")]
    pub(super) sse_kms_key_id: Option<String>,

    /// Checksums of uploads, which S3 compares with what it received [default: crc32c; off on
    /// Outposts, which knows none]
    #[arg(long, help_heading = OBJECTS, value_name = "ALGORITHM")]
    pub(super) upload_checksums: Option<Checksums>,

    /// Give new objects a Content-Type after the ending of their names
    #[arg(long, help_heading = OBJECTS)]
    pub(super) infer_content_type: bool,
}

/// The value of `--sse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Sse {
    #[value(name = "aws:kms")]
    Kms,
    #[value(name = "aws:kms:dsse")]
    KmsDualLayer,
    #[value(name = "AES256")]
    S3,
}

/// The value of `--upload-checksums`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Checksums {
    #[value(name = "crc32c")]
    Crc32c,
    #[value(name = "crc64nvme")]
    Crc64Nvme,
    Off,
}
