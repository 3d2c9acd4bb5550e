package cryptoki

// CKA_ANYHSM_PROVIDER names the provider of a private or secret token key, in UTF-8: in a template of C_GenerateKey,
// C_GenerateKeyPair, C_CreateObject and their like it asks for one of those that the token's rules allow, afterwards it
// tells where the key is. It does not change by C_SetAttributeValue. A key whose template did not name a provider does
// not have it. include/anyhsm.h has the number for C.
const CKA_ANYHSM_PROVIDER AttributeType = CKA_VENDOR_DEFINED | 0x00A45301

func init() { nameAttributeType[CKA_ANYHSM_PROVIDER] = "CKA_ANYHSM_PROVIDER" }
