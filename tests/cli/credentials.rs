//! Where credentials come from: each source, against servers that give them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use s3_test_server::{CA_FILE, Stub, StubAnswer, StubRequest};
use tempfile::TempDir;

use crate::proxy::{Proxy, Rules};
use crate::store::{BUCKET, store};
use crate::support::{Outcome, mount_s3, run};
use crate::wait::once_in_five;

const LIMIT: Duration = Duration::from_secs(120);
const EXPIRES: &str = "2999-01-01T00:00:00Z";

/// A home directory, and what AWS has beside S3: STS and the portal of IAM Identity Center, which are
/// reached by a proxy.
struct Aws {
    home: TempDir,
    services: Stub,
    proxy: Proxy,
}

impl Aws {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let names = [STS, PORTAL, OIDC];
        let services = Stub::https(home.path(), &names, answer).expect("a server");
        let hosts = names.map(|name| (format!("{name}:443"), services.addr()));
        let proxy = Proxy::start(Rules {
            hosts: HashMap::from(hosts),
            ..Rules::default()
        });
        fs::create_dir_all(home.path().join(".aws/sso/cache")).expect("made");
        Self {
            home,
            services,
            proxy,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn config(&self, text: &str) {
        self.write(".aws/config", text);
    }

    /// Lists the store's bucket, as somebody who has this home.
    fn list(&self, flags: &[&str], prepare: impl FnOnce(&mut Command)) -> Outcome {
        let endpoint = store().endpoint();
        self.list_somewhere(&[&["--endpoint-url", &endpoint], flags].concat(), prepare)
    }

    /// Lists a bucket of that name where the flags or the environment say that it is.
    fn list_somewhere(&self, flags: &[&str], prepare: impl FnOnce(&mut Command)) -> Outcome {
        let index = self.path("index");
        let uri = format!("s3://{BUCKET}/");
        let index = index.to_str().expect("UTF-8");
        let args = ["index", &uri, "-o", index];
        let mut command = mount_s3(&[&args, flags].concat());
        command
            .env("HOME", self.home.path())
            .env("HTTPS_PROXY", self.proxy.url())
            .env("AWS_CA_BUNDLE", self.path(CA_FILE))
            .env("AWS_REGION", REGION)
            .env("MOUNTPOINT_LOG", "trace");
        prepare(&mut command);
        run(&mut command, LIMIT)
    }

    fn finds(&self, flags: &[&str], prepare: impl FnOnce(&mut Command)) {
        check_found(&self.list(flags, prepare));
    }

    /// What was asked of AWS, one line a request.
    fn asked(&self) -> Vec<String> {
        let requests = self.services.requests();
        let host = |request: &StubRequest| request.header("host").unwrap_or_default().to_owned();
        requests
            .iter()
            .map(|request| format!("{} {}{}", host(request), request.target, request.body))
            .collect()
    }
}

/// The bucket was listed, and no secret logged.
fn check_found(outcome: &Outcome) {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("2 objects"), "{outcome:?}");
    assert!(
        outcome.stderr.contains("TRACE crt::http"),
        "it tells everything"
    );
    let (_, secret) = store().key();
    for secret in [&SECRETS[..], &[secret]].concat() {
        let leak = outcome.stderr.lines().find(|line| line.contains(secret));
        assert_eq!(leak, None, "{secret} is in the log");
    }
}

/// What sources of credentials are asked with, and what they give.
const SECRETS: [&str; 8] = [
    "CLIENT-SECRET",
    "REFRESH-TOKEN",
    "NEXT-TOKEN",
    "WEB-IDENTITY-TOKEN",
    "CONTAINER-TOKEN",
    "SSO-TOKEN",
    "METADATA-TOKEN",
    "SESSION-TOKEN",
];

const REGION: &str = "eu-test-7";
const STS: &str = "sts.eu-test-7.amazonaws.com";
const PORTAL: &str = "portal.sso.eu-test-7.amazonaws.com";
const OIDC: &str = "oidc.eu-test-7.amazonaws.com";

/// As STS and the portal of IAM Identity Center answer.
fn answer(request: &StubRequest) -> StubAnswer {
    let (key, secret) = store().key();
    let is_signed_by = |key: &str| {
        let signature = request.header("authorization").unwrap_or_default();
        signature.contains(&format!("Credential={key}/"))
    };
    let assumed = |action: &str| {
        let text = format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
             <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn></AssumedRoleUser>\
             <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}\
             </SecretAccessKey><SessionToken>SESSION-TOKEN</SessionToken><Expiration>{EXPIRES}</Expiration>\
             </Credentials></{action}Result></{action}Response>"
        );
        (200, text)
    };
    if request.body.contains("Action=AssumeRoleWithWebIdentity")
        && request.body.contains("WebIdentityToken=WEB-IDENTITY-TOKEN")
    {
        return assumed("AssumeRoleWithWebIdentity");
    }
    if request.body.contains("Action=AssumeRole&")
        && (is_signed_by("AKIDBASE") || is_signed_by("AKIDSSO"))
    {
        return assumed("AssumeRole");
    }
    if request.target.starts_with("/federation/credentials?")
        && request.header("x-amz-sso_bearer_token") == Some("SSO-TOKEN")
    {
        let (key, secret) = if request.target.contains("role_name=Base") {
            ("AKIDSSO", "secret")
        } else {
            (key, secret)
        };
        let text = format!(
            r#"{{"roleCredentials":{{"accessKeyId":"{key}","secretAccessKey":"{secret}","sessionToken":"SESSION-TOKEN","expiration":32472144000000}}}}"#
        );
        return (200, text);
    }
    if request.target == "/token"
        && request.body.contains(r#""grantType":"refresh_token""#)
        && request.body.contains(r#""refreshToken":"REFRESH-TOKEN""#)
    {
        let text = r#"{"accessToken":"SSO-TOKEN","expiresIn":3600,"refreshToken":"NEXT-TOKEN"}"#;
        return (200, text.to_owned());
    }
    (403, "<Error><Code>AccessDenied</Code></Error>".to_owned())
}

/// As the endpoint of a container answers.
fn key_as_json() -> String {
    let (key, secret) = store().key();
    format!(
        r#"{{"AccessKeyId":"{key}","SecretAccessKey":"{secret}","Token":"SESSION-TOKEN","Expiration":"{EXPIRES}"}}"#
    )
}

#[test]
fn profile_with_keys() {
    let aws = Aws::new();
    let (key, secret) = store().key();
    let keys = format!("aws_access_key_id={key}\naws_secret_access_key={secret}\n");
    aws.write(".aws/credentials", &format!("[default]\n{keys}"));
    aws.finds(&[], |_| ());
    aws.config(&format!("[profile work]\n{keys}"));
    fs::remove_file(aws.path(".aws/credentials")).expect("removed");
    aws.finds(&["--profile", "work"], |_| ());
    aws.finds(&[], |command| {
        command.env("AWS_PROFILE", "work");
    });
    assert_eq!(aws.asked(), [""; 0]);
}

#[test]
fn profile_with_a_process() {
    let aws = Aws::new();
    let (key, secret) = store().key();
    let json = format!(
        r#"{{"Version":1,"AccessKeyId":"{key}","SecretAccessKey":"{secret}","Expiration":"{EXPIRES}"}}"#
    );
    let script = aws.write("fetch", &format!("echo '{json}'\n"));
    // Read by the shell, as what a process that another test starts holds open cannot be run.
    aws.config(&format!("[default]\ncredential_process=sh {script}\n"));
    aws.finds(&[], |_| ());
}

#[test]
fn profile_with_a_role_of_another_profile() {
    let aws = Aws::new();
    aws.config(
        "[profile base]\naws_access_key_id=AKIDBASE\naws_secret_access_key=s\n\
         [profile work]\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=base\n\
         role_session_name=me\nexternal_id=ext\n",
    );
    aws.finds(&["--profile", "work"], |_| ());
    let asked = aws.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    for part in [STS, "RoleSessionName=me", "ExternalId=ext"] {
        assert!(asked[0].contains(part), "{part}: {asked:?}");
    }
    assert_eq!(aws.proxy.seen(), [format!("CONNECT {STS}:443 HTTP/1.1")]);
}

#[test]
fn web_identity_of_environment_and_profile() {
    let aws = Aws::new();
    let token = aws.write("token", "WEB-IDENTITY-TOKEN");
    let role = "arn:aws:iam::1:role/r";
    aws.finds(&[], |command| {
        command
            .env("AWS_ROLE_ARN", role)
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
    });
    // The region of --region counts where the environment has none.
    aws.finds(&["--region", REGION], |command| {
        command
            .env_remove("AWS_REGION")
            .env("AWS_ROLE_ARN", role)
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
    });
    aws.config(&format!(
        "[profile work]\nrole_arn={role}\nweb_identity_token_file={token}\n"
    ));
    aws.finds(&["--profile", "work"], |_| ());
    let asked = aws.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.iter().all(|line| line.starts_with(STS)), "{asked:?}");
}

#[test]
fn endpoint_of_s3_alone_leaves_sts_where_it_is() {
    let aws = Aws::new();
    let token = aws.write("token", "WEB-IDENTITY-TOKEN");
    let role = "arn:aws:iam::1:role/r";
    let store_url = store().endpoint();
    let list = |variables: &[(&str, &str)]| {
        let outcome = aws.list_somewhere(&[], |command| {
            command
                .envs(variables.iter().copied())
                .env("AWS_ROLE_ARN", role)
                .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
        });
        (outcome.status, aws.asked().len(), outcome.stderr)
    };
    let (status, asked, stderr) = list(&[("AWS_ENDPOINT_URL_S3", &store_url)]);
    assert_eq!((status, asked), (Some(0), 1), "{stderr}");
    // That of all services is also that of STS for the CRT,
    let (status, asked, stderr) = list(&[("AWS_ENDPOINT_URL", &store_url)]);
    assert_eq!((status, asked), (Some(1), 1), "{stderr}");
    // unless STS has one of its own, which is a host and no URL.
    let both = [
        ("AWS_ENDPOINT_URL", &*store_url),
        ("AWS_ENDPOINT_URL_STS", STS),
    ];
    let (status, asked, stderr) = list(&both);
    assert_eq!((status, asked), (Some(0), 2), "{stderr}");
}

#[test]
fn container_endpoint_with_a_token() {
    let aws = Aws::new();
    let container = Stub::http(|request| {
        let is_right = request.target == "/creds"
            && request.header("authorization") == Some("CONTAINER-TOKEN");
        if is_right {
            (200, key_as_json())
        } else {
            (403, String::new())
        }
    })
    .expect("a server");
    aws.finds(&[], |command| {
        command
            .env(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                format!("http://{}/creds", container.addr()),
            )
            .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "CONTAINER-TOKEN")
            // It is on this machine.
            .env("HTTP_PROXY", "http://127.0.0.1:1")
            .env("NO_PROXY", "127.0.0.1");
    });
}

/// The metadata service of an instance with a role.
fn metadata() -> Stub {
    Stub::http(|request| match (&*request.method, &*request.target) {
        ("PUT", "/latest/api/token") => (200, "METADATA-TOKEN".to_owned()),
        ("GET", "/latest/meta-data/iam/security-credentials/") => (200, "role".to_owned()),
        ("GET", "/latest/meta-data/iam/security-credentials/role") => (200, key_as_json()),
        _ => (404, String::new()),
    })
    .expect("a server")
}

#[test]
fn instance_metadata_unless_disabled() {
    let aws = Aws::new();
    let metadata = metadata();
    let with = |disabled: &'static str| {
        let endpoint = format!("http://{}", metadata.addr());
        move |command: &mut Command| {
            command
                .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
                .env("AWS_EC2_METADATA_DISABLED", disabled);
        }
    };
    let outcome = aws.list(&[], with("true"));
    assert_eq!(outcome.status, Some(1));
    let text = "instance metadata: AWS_EC2_METADATA_DISABLED is set";
    assert!(outcome.stderr.contains(text), "{outcome:?}");
    assert_eq!(metadata.requests().len(), 0);
    // The service is asked twice, and given up when both times nothing comes within a second.
    once_in_five(|_| {
        let outcome = aws.list(&[], with("false"));
        if outcome.status != Some(0) {
            return Err(format!("{outcome:?}"));
        }
        check_found(&outcome);
        Ok(())
    });
}

#[test]
fn identity_center_by_session_and_as_of_old() {
    for (cache, profile) in [
        // SHA-1 of the session's name, and of the start URL.
        (
            "34c6fceca75e456f25e7e99531e2425c6c1de443",
            "sso_session=dev\n[sso-session dev]\nsso_region=eu-test-7\n\
             sso_start_url=https://example.awsapps.com/start\n",
        ),
        (
            "e8be5486177c5b5392bd9aa76563515b29358e6e",
            "sso_region=eu-test-7\nsso_start_url=https://example.awsapps.com/start\n",
        ),
    ] {
        let aws = Aws::new();
        aws.config(&format!(
            "[profile work]\nsso_account_id=123456789012\nsso_role_name=Reader\n{profile}"
        ));
        let outcome = aws.list(&["--profile", "work"], |_| ());
        assert_eq!(outcome.status, Some(1));
        let remedy = "aws sso login --profile work";
        assert!(outcome.stderr.contains(remedy), "{outcome:?}");

        let token = aws.path(&format!(".aws/sso/cache/{cache}.json"));
        let session = |expires: &str| {
            let text = format!(r#"{{"accessToken":"SSO-TOKEN","expiresAt":"{expires}"}}"#);
            fs::write(&token, text).expect("written");
        };
        session("2020-01-01T00:00:00Z");
        let outcome = aws.list(&["--profile", "work"], |_| ());
        assert!(outcome.stderr.contains(remedy), "{outcome:?}");
        assert!(outcome.stderr.contains("TOKEN_EXPIRED"), "{outcome:?}");
        session(EXPIRES);
        aws.finds(&["--profile", "work"], |_| ());
        aws.finds(&[], |command| {
            command.env("AWS_PROFILE", "work");
        });
        let asked = aws.asked();
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert!(asked[0].contains("account_id=123456789012"), "{asked:?}");
        assert!(asked[0].contains("role_name=Reader"), "{asked:?}");
    }
}

#[test]
fn session_of_identity_center_is_renewed() {
    let aws = Aws::new();
    aws.config(
        "[profile work]\nsso_account_id=1\nsso_role_name=Reader\nsso_session=dev\n\
         [sso-session dev]\nsso_region=eu-test-7\nsso_start_url=https://example.awsapps.com/start\n",
    );
    let file = ".aws/sso/cache/34c6fceca75e456f25e7e99531e2425c6c1de443.json";
    let text = r#"{"accessToken":"OLD-TOKEN","expiresAt":"2020-01-01T00:00:00Z","clientId":"id",
        "clientSecret":"CLIENT-SECRET","refreshToken":"REFRESH-TOKEN","startUrl":"url"}"#;
    aws.write(file, text);
    aws.finds(&["--profile", "work"], |_| ());
    let asked = aws.asked();
    assert!(
        asked[0].starts_with(OIDC) && asked[1].starts_with(PORTAL),
        "{asked:?}"
    );
    let path = aws.path(file);
    let text = fs::read_to_string(&path).expect("it is there");
    for part in ["SSO-TOKEN", "NEXT-TOKEN", "CLIENT-SECRET", "startUrl"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mode = fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // The token is good, and no other one is asked for.
    aws.finds(&["--profile", "work"], |_| ());
    assert_eq!(aws.asked().len(), 3);
}

#[test]
fn role_assumed_from_identity_center() {
    let aws = Aws::new();
    aws.config(
        "[profile work]\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=base\n\
         [profile base]\nsso_account_id=1\nsso_role_name=Base\nsso_session=dev\n\
         [sso-session dev]\nsso_region=eu-test-7\nsso_start_url=https://example.awsapps.com/start\n",
    );
    let outcome = aws.list(&["--profile", "work"], |_| ());
    let remedy = "aws sso login --profile base";
    assert!(outcome.stderr.contains(remedy), "{outcome:?}");
    let text = format!(r#"{{"accessToken":"SSO-TOKEN","expiresAt":"{EXPIRES}"}}"#);
    aws.write(
        ".aws/sso/cache/34c6fceca75e456f25e7e99531e2425c6c1de443.json",
        &text,
    );
    aws.finds(&["--profile", "work"], |_| ());
    let asked = aws.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[0].starts_with(PORTAL) && asked[1].starts_with(STS),
        "{asked:?}"
    );
}

#[test]
fn sources_that_were_tried_are_named_with_their_reasons() {
    let aws = Aws::new();
    let token = aws.write("token", "ANOTHER-TOKEN");
    aws.config("[default]\nregion=eu-test-7\n");
    let outcome = aws.list(&[], |command| {
        command
            .env("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
    });
    assert_eq!(outcome.status, Some(1));
    for part in [
        "No signing credentials found",
        "environment variables: ",
        "AWS_ACCESS_KEY_ID",
        "profile default: ",
        "web identity: ",
        "instance metadata: AWS_EC2_METADATA_DISABLED is set",
    ] {
        assert!(outcome.stderr.contains(part), "{part}: {outcome:?}");
    }

    let outcome = aws.list(&["--profile", "other"], |_| ());
    let part = "profile other: there is no such profile in ";
    assert!(outcome.stderr.contains(part), "{outcome:?}");
    assert!(outcome.stderr.contains(".aws/config"), "{outcome:?}");
    aws.config(
        "[profile a]\nrole_arn=r\nsource_profile=b\n[profile b]\nrole_arn=r\nsource_profile=a\n",
    );
    let outcome = aws.list(&["--profile", "a"], |_| ());
    assert!(outcome.stderr.contains("CYCLE"), "{outcome:?}");
}
