// Uses keys of a token: java UseKeys PROVIDER-CONFIG PIN DIRECTORY IV ALIAS:ALGORITHM...
// It signs, MACs or encrypts DIRECTORY/message, or decrypts DIRECTORY/ALIAS.encrypted, and prints ALIAS:ALGORITHM=HEX,
// or =!EXCEPTION.
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Key;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.Security;
import java.security.Signature;
import java.security.spec.AlgorithmParameterSpec;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PSSParameterSpec;
import java.util.Arrays;
import java.util.HexFormat;
import javax.crypto.Cipher;
import javax.crypto.Mac;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.IvParameterSpec;

public class UseKeys {
    static Provider provider;
    static Path directory;
    static byte[] message, iv;

    public static void main(String[] args) throws Exception {
        provider = Security.getProvider("SunPKCS11").configure(args[0]);
        Security.addProvider(provider);
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, args[1].toCharArray());
        directory = Path.of(args[2]);
        message = Files.readAllBytes(directory.resolve("message"));
        iv = HexFormat.of().parseHex(args[3]);
        for (String asked : Arrays.copyOfRange(args, 4, args.length)) {
            int colon = asked.indexOf(':');
            String alias = asked.substring(0, colon), algorithm = asked.substring(colon + 1);
            String answer;
            try {
                Key key = store.getKey(alias, null);
                if (key == null) {
                    throw new IllegalStateException("there is no entry " + alias);
                }
                answer = HexFormat.of().formatHex(use(alias, key, algorithm));
            } catch (Exception e) {
                answer = "!" + (e + ", " + e.getCause()).replace('\n', ' ');
            }
            System.out.println(asked + "=" + answer);
        }
    }

    static byte[] use(String alias, Key key, String algorithm) throws Exception {
        if (algorithm.startsWith("RSA/")) {
            Cipher cipher = Cipher.getInstance(algorithm, provider);
            cipher.init(Cipher.DECRYPT_MODE, key);
            return cipher.doFinal(Files.readAllBytes(directory.resolve(alias + ".encrypted")));
        }
        if (algorithm.startsWith("AES/")) {
            return encrypt(key, algorithm);
        }
        if (algorithm.startsWith("Hmac")) {
            Mac mac = Mac.getInstance(algorithm, provider);
            mac.init(key);
            return mac.doFinal(message);
        }
        // Without naming the provider, as applications do: the key decides.
        Signature signature = Signature.getInstance(algorithm);
        signature.initSign((PrivateKey) key);
        if (algorithm.equals("RSASSA-PSS")) {
            signature.setParameter(new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1));
        }
        signature.update(message);
        return signature.sign();
    }

    /** Encrypts, and holds the token to decrypting it again. */
    static byte[] encrypt(Key key, String algorithm) throws Exception {
        AlgorithmParameterSpec parameters = new IvParameterSpec(iv);
        if (algorithm.contains("GCM")) {
            parameters = new GCMParameterSpec(128, Arrays.copyOf(iv, 12));
        }
        Cipher cipher = Cipher.getInstance(algorithm, provider);
        cipher.init(Cipher.ENCRYPT_MODE, key, parameters);
        byte[] encrypted = cipher.doFinal(message);
        cipher = Cipher.getInstance(algorithm, provider);
        cipher.init(Cipher.DECRYPT_MODE, key, parameters);
        if (!Arrays.equals(cipher.doFinal(encrypted), message)) {
            throw new IllegalStateException("it does not decrypt to what was encrypted");
        }
        return encrypted;
    }
}
