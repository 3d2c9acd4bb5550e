"""Uses a KMS endpoint by botocore, AWS's own description of the service, and prints what it finds wrong."""
import sys

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

url, region, access_key, secret_key = sys.argv[1:]
kms = botocore.session.Session().create_client(
    "kms", region_name=region, endpoint_url=url, aws_access_key_id=access_key, aws_secret_access_key=secret_key,
    # The lengths that the description has are for the service to check.
    config=Config(retries={"total_max_attempts": 1}, parameter_validation=False))


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as e:
        if e.response["Error"]["Code"] != code:
            print(f"{call.__name__} {arguments}: {e}, want {code}")
        return
    print(f"{call.__name__} {arguments}: not refused, want {code}")


def check(what, ok):
    if not ok:
        print(what)


digest = bytes(32)
made = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]
key = made["KeyId"]
check("metadata", made["Enabled"] and made["SigningAlgorithms"] == ["ECDSA_SHA_256"] and made["CreationDate"].year > 2000)
kms.create_alias(AliasName="alias/web", TargetKeyId=key)
refused("AlreadyExistsException", kms.create_alias, AliasName="alias/web", TargetKeyId=key)
refused("InvalidAliasNameException", kms.create_alias, AliasName="web", TargetKeyId=key)
signed = kms.sign(KeyId="alias/web", Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256")
check("the key that signed", signed["KeyId"] == made["Arn"])
check("the signature is no DER", signed["Signature"][0] == 0x30)
check("the public key", kms.get_public_key(KeyId=made["Arn"])["PublicKey"][0] == 0x30)
check("the tags", kms.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "a", "TagValue": "b"}])
use = dict(KeyId=key, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256")
refused("ValidationException", kms.sign, **{**use, "Message": bytes(20)})
refused("ValidationException", kms.sign, **{**use, "Message": b""})
refused("ValidationException", kms.sign, **{**use, "Message": bytes(4097), "MessageType": "RAW"})
refused("InvalidKeyUsageException", kms.sign, **{**use, "SigningAlgorithm": "ECDSA_SHA_384"})
refused("InvalidKeyUsageException", kms.generate_mac, KeyId=key, Message=digest, MacAlgorithm="HMAC_SHA_256")
refused("InvalidKeyUsageException", kms.decrypt, KeyId=key, CiphertextBlob=digest, EncryptionAlgorithm="RSAES_OAEP_SHA_1")
refused("NotFoundException", kms.describe_key, KeyId="alias/nobody")
refused("NotFoundException", kms.describe_key, KeyId="11111111-2222-4333-8444-555555555555")
refused("ValidationException", kms.create_key, KeySpec="ECC_NIST_P256", KeyUsage="ENCRYPT_DECRYPT")
refused("ValidationException", kms.create_key, KeySpec="ECC_NIST_P256")
refused("ValidationException", kms.create_key, KeySpec="RSA_1024", KeyUsage="SIGN_VERIFY")
refused("TagException", kms.create_key, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC", Tags=[{"TagKey": "aws:x", "TagValue": ""}])
refused("UnsupportedOperationException", kms.get_parameters_for_import, KeyId=key, WrappingAlgorithm="RSA_AES_KEY_WRAP_SHA_256", WrappingKeySpec="RSA_4096")
refused("ValidationException", kms.schedule_key_deletion, KeyId=key, PendingWindowInDays=6)
pending = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
check("the state of a key that is to be deleted", pending["KeyState"] == "PendingDeletion" and pending["KeyId"] == made["Arn"])
refused("KMSInvalidStateException", kms.sign, **use)
refused("KMSInvalidStateException", kms.create_alias, AliasName="alias/other", TargetKeyId=key)
kms.cancel_key_deletion(KeyId=key)
refused("DisabledException", kms.sign, **use)
refused("DisabledException", kms.get_public_key, KeyId=key)
kms.enable_key(KeyId=key)
kms.sign(**use)
mac = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
refused("UnsupportedOperationException", kms.get_public_key, KeyId=mac)
check("the MAC", len(kms.generate_mac(KeyId=mac, Message=b"data", MacAlgorithm="HMAC_SHA_256")["Mac"]) == 32)
for _ in range(3):
    kms.create_key(KeySpec="SYMMETRIC_DEFAULT")
pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}))
check("the pages", len(pages) == 3 and sum(len(page["Keys"]) for page in pages) == 5)
refused("InvalidMarkerException", kms.list_keys, Marker="no marker!")
refused("ValidationException", kms.list_keys, Limit=1001)
refused("ValidationException", kms.list_aliases, Limit=101)
check("random bytes", len(kms.generate_random(NumberOfBytes=16)["Plaintext"]) == 16)
refused("ValidationException", kms.generate_random, NumberOfBytes=1025)
kms.delete_alias(AliasName="alias/web")
refused("NotFoundException", kms.delete_alias, AliasName="alias/web")
