"""boto3's control plane: which models there are."""

import unittest

import boto3
from botocore.exceptions import ClientError

from endpoint import ENDPOINT, MODEL, UNKNOWN_MODEL


class Control(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = boto3.client("bedrock", endpoint_url=ENDPOINT)

    def test_foundation_models(self):
        models = self.client.list_foundation_models()["modelSummaries"]
        self.assertTrue(models)
        for model in models:
            details = self.client.get_foundation_model(modelIdentifier=model["modelId"])
            self.assertEqual(details["modelDetails"]["modelId"], model["modelId"])
            self.assertEqual(details["modelDetails"]["modelArn"], model["modelArn"])
            availability = self.client.get_foundation_model_availability(modelId=model["modelId"])
            self.assertEqual(availability["authorizationStatus"], "AUTHORIZED")
        with self.assertRaises(self.client.exceptions.ResourceNotFoundException):
            self.client.get_foundation_model(modelIdentifier=UNKNOWN_MODEL)

    def test_filters(self):
        models = self.client.list_foundation_models()["modelSummaries"]
        same = self.client.list_foundation_models(byOutputModality="TEXT")["modelSummaries"]
        self.assertEqual(len(same), len(models))
        none = self.client.list_foundation_models(byOutputModality="IMAGE")["modelSummaries"]
        self.assertEqual(none, [])
        none = self.client.list_foundation_models(byProvider="Nobody")["modelSummaries"]
        self.assertEqual(none, [])

    def test_inference_profiles(self):
        pages = self.client.get_paginator("list_inference_profiles").paginate()
        profiles = [profile for page in pages for profile in page["inferenceProfileSummaries"]]
        self.assertIn(MODEL, [profile["inferenceProfileId"] for profile in profiles])
        profile = self.client.get_inference_profile(inferenceProfileIdentifier=MODEL)
        self.assertEqual(profile["status"], "ACTIVE")
        with self.assertRaises(self.client.exceptions.ResourceNotFoundException):
            self.client.get_inference_profile(inferenceProfileIdentifier="us.nobody.none-v1:0")

    def test_other_operations_have_an_error_of_the_right_shape(self):
        # Whatever comes to be served later, training and marketplace contracts will not.
        for operation, arguments in (
            (self.client.list_model_customization_jobs, {}),
            (self.client.list_automated_reasoning_policies, {}),
            (self.client.get_use_case_for_model_access, {}),
        ):
            with self.assertRaises(ClientError) as caught:
                operation(**arguments)
            error = caught.exception.response
            self.assertEqual(error["Error"]["Code"], "UnknownOperationException")
            self.assertTrue(error["Error"]["Message"])


if __name__ == "__main__":
    unittest.main()
