// Does a Java application's daily cryptography with the token's provider in the first or the last place:
// java Everything.java PROVIDER-CONFIG PIN first|last
// In the first place each digest, MAC, cipher and signature of the process goes through the token.
import java.math.BigInteger;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.PublicKey;
import java.security.SecureRandom;
import java.security.Security;
import java.security.Signature;
import java.security.interfaces.ECPublicKey;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.RSAPublicKeySpec;
import java.security.spec.X509EncodedKeySpec;
import java.util.Arrays;
import java.util.Collections;
import java.util.HexFormat;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.ArrayList;
import java.util.List;
import javax.crypto.Cipher;
import javax.crypto.KeyAgreement;
import javax.crypto.KeyGenerator;
import javax.crypto.Mac;
import javax.crypto.SecretKey;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;

public class Everything {
    static Provider provider;
    static final byte[] TEXT = "Everything goes through the token".getBytes();
    /** A session object keeps its session open: with the last session the login would end, and Java closes sessions at will. */
    static SecretKey anchor;

    public static void main(String[] args) throws Exception {
        provider = Security.getProvider("SunPKCS11").configure(args[0]);
        boolean first = args[2].equals("first");
        if (first) {
            Security.insertProviderAt(provider, 1);
        } else {
            Security.addProvider(provider);
        }
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, args[1].toCharArray());

        anchor = KeyGenerator.getInstance("AES", provider).generateKey();
        digests(first);
        macs();
        random();
        ciphers(first);
        generatedPairs();
        publicKeys();
        agreement();
        tokenKeys(store);
        threads(store);
        System.out.println("done");
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new IllegalStateException(what);
        }
    }

    static void digests(boolean first) throws Exception {
        for (String hash : new String[] {"MD5", "SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512"}) {
            MessageDigest digest = MessageDigest.getInstance(hash);
            // Few tokens have them all; where the token has none, the next provider does it.
            digest.update(TEXT, 0, 5);
            digest.update(TEXT, 5, TEXT.length - 5);
            byte[] reference = MessageDigest.getInstance(hash, "SUN").digest(TEXT);
            check(Arrays.equals(digest.digest(), reference), hash);
            if (provider.getService("MessageDigest", hash) != null) {
                MessageDigest token = MessageDigest.getInstance(hash, provider);
                token.update(TEXT);
                MessageDigest clone = (MessageDigest) token.clone();
                check(Arrays.equals(token.digest(), reference) && Arrays.equals(clone.digest(), reference), "clone of " + hash);
            }
        }
        if (first) {
            check(MessageDigest.getInstance("SHA-256").getProvider() == provider, "the token does not digest");
        }
    }

    static void macs() throws Exception {
        for (String hash : new String[] {"HmacSHA1", "HmacSHA256", "HmacSHA384", "HmacSHA512"}) {
            SecretKeySpec key = new SecretKeySpec(TEXT, hash);
            byte[] reference = mac(Mac.getInstance(hash, "SunJCE"), key);
            for (int i = 0; i < 3; i++) {
                check(Arrays.equals(mac(Mac.getInstance(hash), key), reference), hash);
            }
            check(Arrays.equals(mac(Mac.getInstance(hash, provider), key), reference), hash + " in the token");
        }
    }

    static byte[] mac(Mac mac, SecretKeySpec key) throws Exception {
        mac.init(key);
        return mac.doFinal(TEXT);
    }

    static void random() throws Exception {
        SecureRandom random = SecureRandom.getInstance("PKCS11", provider);
        byte[] one = new byte[100], two = new byte[100];
        random.nextBytes(one);
        random.setSeed(one);
        random.nextBytes(two);
        check(!Arrays.equals(one, two), "the same random bytes twice");
    }

    static void ciphers(boolean first) throws Exception {
        KeyGenerator generator = first ? KeyGenerator.getInstance("AES") : KeyGenerator.getInstance("AES", provider);
        generator.init(256);
        SecretKey key = generator.generateKey();
        for (int i = 0; i < 20; i++) {
            byte[] iv = new byte[12];
            iv[0] = (byte) i;
            GCMParameterSpec parameters = new GCMParameterSpec(128, iv);
            Cipher encrypt = Cipher.getInstance("AES/GCM/NoPadding", provider);
            encrypt.init(Cipher.ENCRYPT_MODE, key, parameters);
            byte[] encrypted = encrypt.doFinal(TEXT);
            Cipher decrypt = Cipher.getInstance("AES/GCM/NoPadding", provider);
            decrypt.init(Cipher.DECRYPT_MODE, key, parameters);
            check(Arrays.equals(decrypt.doFinal(encrypted), TEXT), "AES/GCM");
        }
        // A key that Java holds, used through the token.
        SecretKeySpec known = new SecretKeySpec(new byte[16], "AES");
        Cipher token = Cipher.getInstance("AES/CTR/NoPadding", provider);
        token.init(Cipher.ENCRYPT_MODE, known, new javax.crypto.spec.IvParameterSpec(new byte[16]));
        Cipher java = Cipher.getInstance("AES/CTR/NoPadding", "SunJCE");
        java.init(Cipher.ENCRYPT_MODE, known, new javax.crypto.spec.IvParameterSpec(new byte[16]));
        check(Arrays.equals(token.doFinal(TEXT), java.doFinal(TEXT)), "AES/CTR");
    }

    static void generatedPairs() throws Exception {
        KeyPairGenerator rsa = KeyPairGenerator.getInstance("RSA", provider);
        rsa.initialize(2048);
        roundTrip("SHA256withRSA", "SunRsaSign", rsa.generateKeyPair());
        for (String curve : new String[] {"secp256r1", "secp384r1", "secp521r1"}) {
            KeyPairGenerator ec = KeyPairGenerator.getInstance("EC", provider);
            ec.initialize(new ECGenParameterSpec(curve));
            for (int i = 0; i < 5; i++) {
                roundTrip("SHA256withECDSA", "SunEC", ec.generateKeyPair());
            }
        }
    }

    /** Signs in the token, verifies in the token and by Java's own provider. */
    static void roundTrip(String algorithm, String other, KeyPair pair) throws Exception {
        byte[] signature = sign(algorithm, pair.getPrivate());
        check(verify(Signature.getInstance(algorithm, provider), pair.getPublic(), signature), algorithm + " in the token");
        PublicKey copy = KeyFactory.getInstance(pair.getPublic().getAlgorithm(), other)
                .generatePublic(new X509EncodedKeySpec(pair.getPublic().getEncoded()));
        check(verify(Signature.getInstance(algorithm, other), copy, signature), algorithm + " by " + other);
        signature[signature.length - 1] ^= 1;
        boolean accepted;
        try {
            accepted = verify(Signature.getInstance(algorithm, provider), pair.getPublic(), signature);
        } catch (java.security.SignatureException refused) {
            accepted = false;
        }
        check(!accepted, "a changed signature of " + algorithm + " is accepted");
    }

    static byte[] sign(String algorithm, PrivateKey key) throws Exception {
        Signature signature = Signature.getInstance(algorithm, provider);
        signature.initSign(key);
        signature.update(TEXT);
        return signature.sign();
    }

    static boolean verify(Signature signature, PublicKey key, byte[] value) throws Exception {
        signature.initVerify(key);
        signature.update(TEXT);
        return signature.verify(value);
    }

    /** Many public keys of others pass through, as in certificate paths. Signatures with short r or s come along. */
    static void publicKeys() throws Exception {
        KeyPairGenerator java = KeyPairGenerator.getInstance("EC", "SunEC");
        java.initialize(new ECGenParameterSpec("secp256r1"));
        KeyPair pair = java.generateKeyPair();
        for (int i = 0; i < 600; i++) {
            if (i % 10 == 0) {
                pair = java.generateKeyPair();
            }
            Signature signature = Signature.getInstance("SHA256withECDSA", "SunEC");
            signature.initSign(pair.getPrivate());
            signature.update(TEXT);
            byte[] value = signature.sign();
            check(verify(Signature.getInstance("SHA256withECDSA", provider), pair.getPublic(), value),
                    "a signature of SunEC is refused: " + HexFormat.of().formatHex(value));
        }
        KeyPairGenerator rsa = KeyPairGenerator.getInstance("RSA", "SunRsaSign");
        rsa.initialize(2048);
        KeyPair known = rsa.generateKeyPair();
        BigInteger modulus = ((java.security.interfaces.RSAPublicKey) known.getPublic()).getModulus();
        PublicKey inToken = KeyFactory.getInstance("RSA", provider).generatePublic(new RSAPublicKeySpec(modulus, BigInteger.valueOf(65537)));
        Cipher encrypt = Cipher.getInstance("RSA/ECB/PKCS1Padding", provider);
        encrypt.init(Cipher.ENCRYPT_MODE, inToken);
        Cipher decrypt = Cipher.getInstance("RSA/ECB/PKCS1Padding", "SunJCE");
        decrypt.init(Cipher.DECRYPT_MODE, known.getPrivate());
        check(Arrays.equals(decrypt.doFinal(encrypt.doFinal(TEXT)), TEXT), "RSA encryption");
    }

    static void agreement() throws Exception {
        for (String curve : new String[] {"secp256r1", "secp384r1", "secp521r1"}) {
            KeyPairGenerator inToken = KeyPairGenerator.getInstance("EC", provider);
            inToken.initialize(new ECGenParameterSpec(curve));
            KeyPairGenerator java = KeyPairGenerator.getInstance("EC", "SunEC");
            java.initialize(new ECGenParameterSpec(curve));
            KeyPair ours = inToken.generateKeyPair(), theirs = java.generateKeyPair();
            KeyAgreement token = KeyAgreement.getInstance("ECDH", provider);
            token.init(ours.getPrivate());
            token.doPhase(theirs.getPublic(), true);
            KeyAgreement reference = KeyAgreement.getInstance("ECDH", "SunEC");
            reference.init(theirs.getPrivate());
            reference.doPhase(ours.getPublic() instanceof ECPublicKey ? KeyFactory.getInstance("EC", "SunEC")
                    .generatePublic(new X509EncodedKeySpec(ours.getPublic().getEncoded())) : null, true);
            check(Arrays.equals(token.generateSecret(), reference.generateSecret()), "ECDH on " + curve);
        }
    }

    static void tokenKeys(KeyStore store) throws Exception {
        int used = 0;
        for (String alias : Collections.list(store.aliases())) {
            if (store.getKey(alias, null) instanceof PrivateKey key) {
                String algorithm = key.getAlgorithm().equals("RSA") ? "SHA256withRSA" : "SHA256withECDSA";
                byte[] signature = sign(algorithm, key);
                check(verify(Signature.getInstance(algorithm), store.getCertificate(alias).getPublicKey(), signature), alias);
                used++;
            }
        }
        check(used > 0, "no private key in the token");
    }

    static void threads(KeyStore store) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(16);
        List<Future<Void>> results = new ArrayList<>();
        for (int i = 0; i < 64; i++) {
            results.add(pool.submit((Callable<Void>) () -> {
                tokenKeys(store);
                return null;
            }));
        }
        for (Future<Void> result : results) {
            result.get();
        }
        pool.shutdown();
    }
}
