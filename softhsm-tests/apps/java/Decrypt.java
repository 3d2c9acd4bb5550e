// Decrypts a file with an RSA key of a token: java Decrypt.java PROVIDER-CONFIG PIN ALIAS FILE
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.Provider;
import java.security.Security;
import javax.crypto.Cipher;

public class Decrypt {
    public static void main(String[] args) throws Exception {
        Provider provider = Security.getProvider("SunPKCS11").configure(args[0]);
        Security.addProvider(provider);
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, args[1].toCharArray());
        Cipher cipher = Cipher.getInstance("RSA/ECB/PKCS1Padding", provider);
        cipher.init(Cipher.DECRYPT_MODE, store.getKey(args[2], null));
        System.out.write(cipher.doFinal(Files.readAllBytes(Path.of(args[3]))));
        System.out.flush();
    }
}
