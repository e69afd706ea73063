"""Who may ask: signatures and keys, right and wrong, as boto3 makes them."""

import base64
import contextlib
import datetime
import os
import time
import unittest
from unittest import mock

import boto3
import botocore.auth
from botocore import UNSIGNED
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, SSLError

from endpoint import API_KEY, MODEL, TLS_ENDPOINT, ask, impatient, runtime

ONE = {"maxTokens": 1}


def converse(client, **arguments):
    arguments = {"modelId": MODEL, "messages": ask("Hi"), "inferenceConfig": ONE, **arguments}
    return client.converse(**arguments)


def short_term_key(seconds=3600):
    """What AWS's own token generator makes: a presigned call, in base64. Its code is botocore's
    signer around constants, so the signer is what is used here."""
    credentials = Credentials(
        os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    )
    request = AWSRequest(
        "POST",
        "https://bedrock.amazonaws.com/",
        headers={"host": "bedrock.amazonaws.com"},
        params={"Action": "CallWithBearerToken"},
    )
    botocore.auth.SigV4QueryAuth(credentials, "bedrock", "us-east-1", expires=seconds).add_auth(
        request
    )
    presigned = request.url.removeprefix("https://") + "&Version=1"
    return "bedrock-api-key-" + base64.b64encode(presigned.encode()).decode()


class Signed(unittest.TestCase):
    def assert_refused(self, client, status, *codes):
        with self.assertRaises(ClientError) as caught:
            converse(client)
        response = caught.exception.response
        self.assertIn(response["Error"]["Code"], codes)
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], status)
        self.assertTrue(response["Error"]["Message"])

    def test_a_good_signature_is_taken_in_any_region(self):
        for region in ("us-east-1", "cn-north-1", "eu-central-1"):
            converse(runtime(region_name=region))

    def test_a_wrong_secret(self):
        client = impatient(
            aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong" * 8
        )
        self.assert_refused(client, 403, "InvalidSignatureException")

    def test_an_unknown_key(self):
        client = impatient(aws_access_key_id="AKIAUNKNOWN", aws_secret_access_key="wrong" * 8)
        self.assert_refused(
            client, 403, "UnrecognizedClientException", "InvalidSignatureException"
        )

    def test_no_credentials(self):
        client = impatient(config={"signature_version": UNSIGNED})
        self.assert_refused(
            client, 403, "MissingAuthenticationTokenException", "AccessDeniedException"
        )

    def test_a_revoked_key(self):
        client = impatient(
            aws_access_key_id=os.environ["OUTCROP_REVOKED_KEY_ID"],
            aws_secret_access_key=os.environ["OUTCROP_REVOKED_SECRET"],
        )
        self.assert_refused(
            client,
            403,
            "UnrecognizedClientException",
            "InvalidSignatureException",
            "AccessDeniedException",
        )

    def test_signatures_of_another_time(self):
        for minutes in (-20, 20):
            moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
            naive = moment.replace(tzinfo=None)  # as botocore keeps it
            with mock.patch.object(botocore.auth, "get_current_datetime", lambda **_: naive):
                self.assert_refused(
                    impatient(),
                    403,
                    "InvalidSignatureException",
                    "ExpiredTokenException",
                    "SignatureDoesNotMatch",
                )

    def test_a_body_that_was_changed_after_signing(self):
        client = impatient()

        def change(request, **_):
            request.body = request.body.replace(b"Hi", b"Ho")

        client.meta.events.register("before-send.bedrock-runtime.*", change)
        self.assert_refused(client, 403, "InvalidSignatureException")

    def test_a_key_that_may_not_use_the_model(self):
        client = impatient(
            aws_access_key_id=os.environ["OUTCROP_OTHER_MODEL_KEY_ID"],
            aws_secret_access_key=os.environ["OUTCROP_OTHER_MODEL_SECRET"],
        )
        with self.assertRaises(client.exceptions.AccessDeniedException):
            converse(client)

    def test_a_key_that_has_used_its_minute(self):
        keys = {
            "aws_access_key_id": os.environ["OUTCROP_SLOW_KEY_ID"],
            "aws_secret_access_key": os.environ["OUTCROP_SLOW_SECRET"],
        }
        client = impatient(**keys)
        converse(client)
        with self.assertRaises(client.exceptions.ThrottlingException) as caught:
            converse(client)
        headers = caught.exception.response["ResponseMetadata"]["HTTPHeaders"]
        self.assertGreaterEqual(int(headers["retry-after"]), 1)
        # The client's own way with throttling: it tries as often as it is told, and says so.
        with self.assertRaises(client.exceptions.ThrottlingException) as caught:
            converse(runtime(**keys))
        self.assertIn("reached max retries", str(caught.exception))


class Tenants(unittest.TestCase):
    def test_what_one_key_sent_is_not_in_anothers_cache(self):
        # Whether a prompt was computed before shows in the time that it takes, so it must not
        # depend on what others asked.
        messages = ask("The plans for the bridge across the bay are secret. " * 6)
        neighbour = runtime(
            aws_access_key_id=os.environ["OUTCROP_NEIGHBOUR_KEY_ID"],
            aws_secret_access_key=os.environ["OUTCROP_NEIGHBOUR_SECRET"],
        )
        reads = [
            converse(client, messages=messages)["usage"]["cacheReadInputTokens"]
            for client in (runtime(), neighbour, runtime(), neighbour)
        ]
        # The first may find the beginning that its own earlier questions share.
        self.assertLess(reads[0], 30)
        self.assertEqual(reads[1], 0)
        self.assertGreater(min(reads[2:]), 30)


class Bearer(unittest.TestCase):
    """boto3 sends a key only over TLS, so these need it: HTTP/1.1 by ALPN, a local authority."""

    @contextlib.contextmanager
    def bearing(self, key):
        """A client with a key and no other credentials: with them, it would sign instead of fail."""
        environment = {"AWS_BEARER_TOKEN_BEDROCK": key}
        with (
            mock.patch.dict(os.environ, environment),
            mock.patch.object(boto3, "DEFAULT_SESSION", None),
        ):
            del os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
            yield impatient(TLS_ENDPOINT)

    def test_a_long_term_key(self):
        with self.bearing(API_KEY) as client:
            self.assertEqual(converse(client)["usage"]["outputTokens"], 1)
            stream = client.converse_stream(
                modelId=MODEL, messages=ask("Hi"), inferenceConfig=ONE
            )["stream"]
            self.assertIn("metadata", list(stream)[-1])

    def test_a_short_term_key(self):
        with self.bearing(short_term_key()) as client:
            self.assertEqual(converse(client)["usage"]["outputTokens"], 1)

    def test_keys_that_are_not_good(self):
        expired = short_term_key(seconds=1)
        time.sleep(2.1)
        for key in ("no-key", API_KEY[:-1], API_KEY + "A", expired, short_term_key()[:-8]):
            with (
                self.bearing(key) as client,
                self.assertRaises(ClientError, msg=key[:24]) as caught,
            ):
                converse(client)
            status = caught.exception.response["ResponseMetadata"]["HTTPStatusCode"]
            self.assertEqual(status, 403, key[:24])

    def test_a_signature_over_tls(self):
        self.assertEqual(converse(runtime(TLS_ENDPOINT))["usage"]["outputTokens"], 1)

    def test_the_certificate_is_checked(self):
        with mock.patch.dict(os.environ), self.assertRaises(SSLError):
            del os.environ["AWS_CA_BUNDLE"]
            converse(impatient(TLS_ENDPOINT))


class Unsigned(unittest.TestCase):
    def test_no_operation_is_open(self):
        client = impatient(config={"signature_version": UNSIGNED})
        for call in (
            lambda: client.count_tokens(
                modelId=MODEL, input={"converse": {"messages": ask("Hi")}}
            ),
            lambda: client.invoke_model(modelId=MODEL, body="{}"),
            lambda: client.converse_stream(modelId=MODEL, messages=ask("Hi")),
        ):
            with self.assertRaises(ClientError) as caught:
                call()
            status = caught.exception.response["ResponseMetadata"]["HTTPStatusCode"]
            self.assertEqual(status, 403)


if __name__ == "__main__":
    unittest.main()
