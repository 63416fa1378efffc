//! The C libraries: what is built, how, and in which order.

/// One C library of the Common Runtime.
#[derive(Debug)]
pub struct Library {
    /// Its folder in the source tree.
    pub dir: &'static str,
    /// Its archive is `lib<archive>.a`.
    pub archive: &'static str,
    /// cmake definitions that it needs besides [`COMMON_DEFINES`].
    pub defines: &'static [&'static str],
}

/// Every library after the ones that it needs.
pub const LIBRARIES: &[Library] = &[
    Library {
        dir: "aws-lc",
        archive: "crypto",
        defines: &[
            // libcrypto alone: s2n-tls is the TLS implementation. This also spares a C++ compiler.
            "BUILD_LIBSSL=OFF",
            "BUILD_TOOL=OFF",
            // The package holds the generated assembly and error tables.
            "DISABLE_GO=ON",
            "DISABLE_PERL=ON",
            "ENABLE_SOURCE_MODIFICATION=OFF",
        ],
    },
    Library {
        dir: "s2n-tls",
        archive: "s2n",
        // Our libcrypto is installed where cmake looks first; a system one must not be taken.
        defines: &[
            "UNSAFE_TREAT_WARNINGS_AS_ERRORS=OFF",
            "SEARCH_LIBCRYPTO=OFF",
        ],
    },
    library("aws-c-common"),
    library("aws-c-cal"),
    library("aws-c-io"),
    library("aws-c-compression"),
    library("aws-c-http"),
    library("aws-c-sdkutils"),
    library("aws-c-auth"),
    library("aws-checksums"),
    Library {
        dir: "aws-c-s3",
        archive: "aws-c-s3",
        // The rules that find a bucket's endpoint are left out by default.
        defines: &["AWS_ENABLE_S3_ENDPOINT_RESOLVER=ON"],
    },
];

/// cmake definitions of every library.
pub const COMMON_DEFINES: &[&str] = &[
    "BUILD_SHARED_LIBS=OFF",
    "BUILD_TESTING=OFF",
    "CMAKE_POSITION_INDEPENDENT_CODE=ON",
    // Some systems have lib64 or lib/<triple>, which the linker search path would have to follow.
    "CMAKE_INSTALL_LIBDIR=lib",
    // Packages of the same names elsewhere on the machine must not be mixed in.
    "CMAKE_FIND_USE_PACKAGE_REGISTRY=OFF",
    "CMAKE_FIND_USE_SYSTEM_PACKAGE_REGISTRY=OFF",
];

/// A library whose folder and archive have one name and which needs nothing special.
const fn library(name: &'static str) -> Library {
    Library {
        dir: name,
        archive: name,
        defines: &[],
    }
}
