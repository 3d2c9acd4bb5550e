package header

// beyondStandard are names of p11-kit's header that PKCS#11 3.2 does not have.
var beyondStandard = map[string]string{
	"CKC_OPENPGP": "a vendor-defined certificate type of GnuPG",
}

// standardDiffers are constants whose value in Debian's p11-kit 0.24.1 is not the published standard's.
var standardDiffers = map[string]string{
	"CKR_EXCEEDED_MAX_ITERATIONS": "0x1B5 in the standard since 2.40",
	"CKR_FIPS_SELF_TEST_FAILED":   "0x1B6 in the standard since 2.40",
	"CKR_LIBRARY_LOAD_FAILED":     "0x1B7 in the standard since 2.40",
	"CKR_PIN_TOO_WEAK":            "0x1B8 in the standard since 2.40",
	"CKR_PUBLIC_KEY_INVALID":      "0x1B9 in the standard since 2.40",
}
