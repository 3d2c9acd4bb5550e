// Signs a file with each private key of a token, in each way that the key can:
// java SignData.java PROVIDER-CONFIG PIN FILE
// Prints a line for each signature: alias, algorithm, salt length or -, file.
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.Security;
import java.security.Signature;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PSSParameterSpec;
import java.util.Collections;

public class SignData {
    static final String[] RSA = {"SHA1withRSA", "SHA224withRSA", "SHA256withRSA", "SHA384withRSA", "SHA512withRSA"};
    static final String[] EC = {"SHA1withECDSA", "SHA224withECDSA", "SHA256withECDSA", "SHA384withECDSA", "SHA512withECDSA"};

    public static void main(String[] args) throws Exception {
        Provider provider = Security.getProvider("SunPKCS11").configure(args[0]);
        Security.addProvider(provider);
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, args[1].toCharArray());
        Path file = Path.of(args[2]);
        for (String alias : Collections.list(store.aliases())) {
            if (!(store.getKey(alias, null) instanceof PrivateKey key)) {
                continue;
            }
            boolean rsa = key.getAlgorithm().equals("RSA");
            for (String algorithm : rsa ? RSA : EC) {
                sign(provider, key, alias, algorithm, null, file);
            }
            if (rsa) {
                sign(provider, key, alias, "RSASSA-PSS", pss("SHA-256", MGF1ParameterSpec.SHA256, 32), file);
                sign(provider, key, alias, "RSASSA-PSS", pss("SHA-384", MGF1ParameterSpec.SHA384, 48), file);
                sign(provider, key, alias, "RSASSA-PSS", pss("SHA-512", MGF1ParameterSpec.SHA512, 20), file);
            }
        }
    }

    static PSSParameterSpec pss(String hash, MGF1ParameterSpec mgf, int salt) {
        return new PSSParameterSpec(hash, "MGF1", mgf, salt, 1);
    }

    static void sign(Provider provider, PrivateKey key, String alias, String algorithm, PSSParameterSpec pss, Path file) throws Exception {
        // Without naming the provider, as applications do: the key decides.
        Signature signature = Signature.getInstance(algorithm);
        signature.initSign(key);
        if (pss != null) {
            signature.setParameter(pss);
        }
        if (signature.getProvider() != provider) {
            throw new IllegalStateException(algorithm + " went to " + signature.getProvider());
        }
        byte[] part = new byte[4000];
        try (InputStream in = Files.newInputStream(file)) {
            for (int n; (n = in.read(part)) > 0;) {
                signature.update(part, 0, n);
            }
        }
        String hash = pss == null ? algorithm.substring(0, algorithm.indexOf("with")) : pss.getDigestAlgorithm().replace("-", "");
        String salt = pss == null ? "-" : Integer.toString(pss.getSaltLength());
        Path out = file.resolveSibling(alias + "-" + hash + "-" + salt + ".sig");
        Files.write(out, signature.sign());
        System.out.println(alias + " " + hash + " " + salt + " " + out);
    }
}
