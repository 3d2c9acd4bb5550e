package kmip

import (
	"os/exec"
	"strings"
	"testing"
)

// peer is a client that is not ours: PyKMIP's. What it does with the strict server shows that the server speaks KMIP, and
// not only what our client takes for it.
const peer = `
import sys
from kmip.pie.client import ProxyKmipClient
from kmip import enums
host, port, cert, key, ca = sys.argv[1:6]
P = enums.CryptographicAlgorithm
with ProxyKmipClient(hostname=host, port=int(port), cert=cert, key=key, ca=ca, kmip_version=enums.KMIPVersion.KMIP_2_0) as c:
    aes = c.create(P.AES, 256, name='peer', cryptographic_usage_mask=[enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT])
    c.activate(aes)
    params = {'cryptographic_algorithm': P.AES, 'block_cipher_mode': enums.BlockCipherMode.CBC, 'padding_method': enums.PaddingMethod.PKCS5}
    secret, nonce = c.encrypt(b'attack at dawn', uid=aes, cryptographic_parameters=params, iv_counter_nonce=b'0' * 16)[:2]
    assert c.decrypt(secret, uid=aes, cryptographic_parameters=params, iv_counter_nonce=b'0' * 16) == b'attack at dawn'
    key = c.get(aes)
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    d = Cipher(algorithms.AES(key.value), modes.CBC(b'0' * 16)).decryptor()
    assert (d.update(secret) + d.finalize()).startswith(b'attack at dawn')
    public, private = c.create_key_pair(P.RSA, 2048, public_name='peer-public', private_name='peer-private',
        public_usage_mask=[enums.CryptographicUsageMask.VERIFY], private_usage_mask=[enums.CryptographicUsageMask.SIGN])
    c.activate(private)
    signature = c.sign(b'message', uid=private, cryptographic_parameters={'padding_method': enums.PaddingMethod.PKCS1v15,
        'cryptographic_algorithm': P.RSA, 'hashing_algorithm': enums.HashingAlgorithm.SHA_256})
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding
    half = c.get(public)
    loaded = serialization.load_der_public_key(half.value)
    loaded.verify(signature, b'message', padding.PKCS1v15(), hashes.SHA256())
    c.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, aes)
    c.destroy(aes)
    try:
        c.get(aes)
    except Exception as e:
        print('done', e)
`

func TestPyKMIPClient(t *testing.T) {
	server, _, c := strict(t)
	host, port, _ := strings.Cut(server.Address(), ":")
	out, err := exec.Command("/usr/bin/python3", "-W", "ignore", "-c", peer, host, port, c.Certificate, c.Key, c.CA).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "done") || !strings.Contains(string(out), "destroyed") {
		t.Errorf("%v\n%s", err, out)
	}
}
