//! ARNs in the region that the client believes to be in.

use axum::http::{HeaderMap, header};

use crate::api::bedrock::control::names::bare_id;

/// Where a request that is signed for no region is.
const DEFAULT: &str = "us-east-1";
/// ARNs need an account; this server has none.
const ACCOUNT: &str = "000000000000";
const REGION_CHARS_MAX: usize = 20;

pub(super) struct Region(String);

impl Region {
    /// The region in the scope of the signature: `Credential=ID/DATE/REGION/SERVICE/aws4_request`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let authorization = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        let scope = authorization.and_then(|it| it.split_once("Credential="));
        let region = scope.and_then(|(_, scope)| scope.split(',').next()?.split('/').nth(2));
        let is_region = |region: &&str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            (1..=REGION_CHARS_MAX).contains(&region.len()) && region.chars().all(plain)
        };
        Self(region.filter(is_region).unwrap_or(DEFAULT).to_owned())
    }

    fn partition(&self) -> &'static str {
        match self.0.split('-').next() {
            Some("cn") => "aws-cn",
            _ if self.0.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    pub(super) fn foundation_model(&self, id: &str) -> String {
        let (partition, region, id) = (self.partition(), &self.0, bare_id(id));
        format!("arn:{partition}:bedrock:{region}::foundation-model/{id}")
    }

    pub(super) fn profile(&self, kind: &str, id: &str) -> String {
        let (partition, region) = (self.partition(), &self.0);
        format!("arn:{partition}:bedrock:{region}:{ACCOUNT}:{kind}/{id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_in_the_region_of_the_signature() {
        let arn = |authorization: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
            Region::of(&headers).foundation_model("us.a.b")
        };
        let signed = |region: &str| {
            arn(&format!(
                "AWS4-HMAC-SHA256 Credential=AKID/20261123/{region}/bedrock/aws4_request, \
                 SignedHeaders=host, Signature=00"
            ))
        };
        assert_eq!(signed("cn-north-1"), "arn:aws-cn:bedrock:cn-north-1::foundation-model/a.b");
        assert_eq!(signed("eu-west-1"), "arn:aws:bedrock:eu-west-1::foundation-model/a.b");
        let default = "arn:aws:bedrock:us-east-1::foundation-model/a.b";
        for odd in ["Bearer x", "AWS4-HMAC-SHA256 Credential=AKID", &"x".repeat(100)] {
            assert_eq!(arn(odd), default);
        }
        assert_eq!(signed("a:b"), default);
    }
}
