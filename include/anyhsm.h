/* What AnyHSM adds to PKCS#11, in the range of numbers that the standard leaves to vendors. Include pkcs11.h first. */
#ifndef ANYHSM_H
#define ANYHSM_H 1

/*
 * The provider of a private or secret token key, UTF-8 without a terminating zero. In a template of C_GenerateKey,
 * C_GenerateKeyPair (of the private key) or C_CreateObject it asks for one of the providers that the token's rules
 * allow: CKR_ATTRIBUTE_VALUE_INVALID for another one. Afterwards it tells where the key is; C_SetAttributeValue does not
 * change it. A key whose template did not name a provider does not have the attribute.
 */
#define CKA_ANYHSM_PROVIDER (CKA_VENDOR_DEFINED | 0x00A45301UL)

#endif
