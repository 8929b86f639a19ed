//! The function's own credentials, which the host signs with and guests do not see.

use std::fmt;

use aws_credential_types::Credentials as AwsCredentials;

/// An access key. It is wiped from memory when it is dropped, and never printed.
#[derive(Clone)]
pub struct Credentials(AwsCredentials);

impl Credentials {
    /// The credentials in the environment that Lambda gives a function (runtime contract §5): `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY` and, for those that expire, `AWS_SESSION_TOKEN`. `None` if one of the first two is
    /// missing, or if one of the three holds anything but printable ASCII without spaces.
    ///
    /// `variable` gives a variable's value; an empty one counts as unset.
    pub fn from_environment<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        Self::new(
            variable("AWS_ACCESS_KEY_ID")?,
            variable("AWS_SECRET_ACCESS_KEY")?,
            variable("AWS_SESSION_TOKEN"),
        )
    }

    /// `None` if one of the three holds anything but printable ASCII without spaces.
    pub(super) fn new(access_key_id: &str, secret_access_key: &str, session_token: Option<&str>) -> Option<Self> {
        let is_clean = |value: &str| value.bytes().all(|byte| byte.is_ascii_graphic());
        if ![Some(access_key_id), Some(secret_access_key), session_token]
            .into_iter()
            .flatten()
            .all(is_clean)
        {
            return None;
        }
        Some(Self(AwsCredentials::new(
            access_key_id,
            secret_access_key,
            session_token.map(str::to_owned),
            None,
            "platform",
        )))
    }

    pub(super) fn aws(&self) -> &AwsCredentials {
        &self.0
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials")
    }
}
