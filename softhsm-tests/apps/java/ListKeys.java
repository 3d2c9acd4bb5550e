// Lists the entries of a token: java ListKeys.java PROVIDER-CONFIG PIN
import java.security.KeyStore;
import java.security.Provider;
import java.security.Security;
import java.security.cert.X509Certificate;
import java.util.Collections;

public class ListKeys {
    public static void main(String[] args) throws Exception {
        Provider provider = Security.getProvider("SunPKCS11").configure(args[0]);
        Security.addProvider(provider);
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, args[1].toCharArray());
        for (String alias : Collections.list(store.aliases())) {
            if (store.entryInstanceOf(alias, KeyStore.PrivateKeyEntry.class)) {
                int chain = store.getCertificateChain(alias).length;
                String subject = ((X509Certificate) store.getCertificate(alias)).getSubjectX500Principal().getName();
                System.out.println("private " + alias + " " + store.getKey(alias, null).getAlgorithm() + " " + chain + " " + subject);
            } else if (store.entryInstanceOf(alias, KeyStore.SecretKeyEntry.class)) {
                System.out.println("secret " + alias + " " + store.getKey(alias, null).getAlgorithm());
            } else {
                System.out.println("certificate " + alias);
            }
        }
    }
}
