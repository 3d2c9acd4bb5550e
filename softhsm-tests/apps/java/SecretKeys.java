// Stores secret keys with known values in a token and uses them there: java SecretKeys.java PROVIDER-CONFIG PIN
// Prints name=hex for each result, so that somebody else can check it.
import java.io.ByteArrayOutputStream;
import java.security.KeyStore;
import java.security.Provider;
import java.security.Security;
import java.security.spec.AlgorithmParameterSpec;
import java.util.Arrays;
import java.util.HexFormat;
import javax.crypto.Cipher;
import javax.crypto.Mac;
import javax.crypto.SecretKey;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.IvParameterSpec;
import javax.crypto.spec.SecretKeySpec;

public class SecretKeys {
    static Provider provider;
    static final byte[] TEXT = "The quick brown fox jumps over the lazy dog, 64 bytes in total.\n".getBytes();
    static final byte[] AAD = "associated".getBytes();

    public static void main(String[] args) throws Exception {
        provider = Security.getProvider("SunPKCS11").configure(args[0]);
        Security.addProvider(provider);
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, args[1].toCharArray());
        for (int bits : new int[] {128, 256}) {
            store.setEntry("aes" + bits, new KeyStore.SecretKeyEntry(new SecretKeySpec(value(bits / 8), "AES")), null);
        }
        store.setEntry("mac", new KeyStore.SecretKeyEntry(new SecretKeySpec(value(64), "HmacSHA256")), null);
        // What was stored must be there for the next process, so it is read back.
        store.load(null, args[1].toCharArray());
        for (int bits : new int[] {128, 256}) {
            SecretKey key = (SecretKey) store.getKey("aes" + bits, null);
            IvParameterSpec iv = new IvParameterSpec(value(16));
            cipher("gcm", bits, key, "AES/GCM/NoPadding", new GCMParameterSpec(128, value(12)), TEXT);
            cipher("gcm-odd", bits, key, "AES/GCM/NoPadding", new GCMParameterSpec(96, value(12)), Arrays.copyOf(TEXT, 17));
            cipher("cbc", bits, key, "AES/CBC/NoPadding", iv, TEXT);
            cipher("cbc-pad", bits, key, "AES/CBC/PKCS5Padding", iv, Arrays.copyOf(TEXT, 33));
            cipher("ctr", bits, key, "AES/CTR/NoPadding", iv, Arrays.copyOf(TEXT, 33));
            cipher("ecb", bits, key, "AES/ECB/NoPadding", null, TEXT);
            tampered(bits, key);
        }
        for (String hash : new String[] {"SHA1", "SHA224", "SHA256", "SHA384", "SHA512"}) {
            Mac mac = Mac.getInstance("Hmac" + hash, provider);
            mac.init((SecretKey) store.getKey("mac", null));
            mac.update(TEXT, 0, 10);
            mac.update(TEXT, 10, TEXT.length - 10);
            System.out.println("hmac-" + hash + "=" + HexFormat.of().formatHex(mac.doFinal()));
        }
    }

    /** Bytes 0, 1, 2… */
    static byte[] value(int length) {
        byte[] value = new byte[length];
        for (int i = 0; i < length; i++) {
            value[i] = (byte) i;
        }
        return value;
    }

    static Cipher open(String transformation, int mode, SecretKey key, AlgorithmParameterSpec parameters) throws Exception {
        Cipher cipher = Cipher.getInstance(transformation, provider);
        cipher.init(mode, key, parameters);
        if (parameters instanceof GCMParameterSpec) {
            cipher.updateAAD(AAD);
        }
        return cipher;
    }

    static void cipher(String name, int bits, SecretKey key, String transformation, AlgorithmParameterSpec parameters, byte[] text) throws Exception {
        Cipher encrypt = open(transformation, Cipher.ENCRYPT_MODE, key, parameters);
        byte[] encrypted = inParts(encrypt, text, 16);
        System.out.println(name + "-" + bits + "=" + HexFormat.of().formatHex(encrypted));
        byte[] whole = open(transformation, Cipher.DECRYPT_MODE, key, parameters).doFinal(encrypted);
        Cipher decrypt = open(transformation, Cipher.DECRYPT_MODE, key, parameters);
        byte[] parts = inParts(decrypt, encrypted, 20);
        if (!Arrays.equals(whole, text) || !Arrays.equals(parts, text)) {
            throw new IllegalStateException(name + " " + bits + " does not decrypt to what was encrypted");
        }
    }

    /** The last part goes in by update: Java 17 loses what doFinal(data) is given behind an update of AES/GCM. */
    static byte[] inParts(Cipher cipher, byte[] data, int first) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (byte[] part : new byte[][] {cipher.update(data, 0, first), cipher.update(data, first, data.length - first), cipher.doFinal()}) {
            if (part != null) {
                out.write(part);
            }
        }
        return out.toByteArray();
    }

    static void tampered(int bits, SecretKey key) throws Exception {
        GCMParameterSpec parameters = new GCMParameterSpec(128, value(12));
        byte[] encrypted = open("AES/GCM/NoPadding", Cipher.ENCRYPT_MODE, key, parameters).doFinal(TEXT);
        encrypted[3] ^= 1;
        try {
            open("AES/GCM/NoPadding", Cipher.DECRYPT_MODE, key, parameters).doFinal(encrypted);
        } catch (Exception expected) {
            System.out.println("tampered-" + bits + "=" + HexFormat.of().formatHex(expected.getClass().getSimpleName().getBytes()));
            return;
        }
        throw new IllegalStateException("a changed ciphertext decrypts");
    }
}
