// Serves HTTPS with the private keys of a token: java TlsServer.java PROVIDER-CONFIG PIN first|last
// Prints the port when it listens, and serves until its standard input ends.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.security.KeyStore;
import java.security.Provider;
import java.security.Security;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;

public class TlsServer {
    public static void main(String[] args) throws Exception {
        Provider provider = Security.getProvider("SunPKCS11").configure(args[0]);
        if (args[2].equals("first")) {
            Security.insertProviderAt(provider, 1);
        } else {
            Security.addProvider(provider);
        }
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, args[1].toCharArray());
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(store, null);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        SSLServerSocket server = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(0);
        Thread acceptor = new Thread(() -> accept(server));
        acceptor.setDaemon(true);
        acceptor.start();
        System.out.println(server.getLocalPort());
        while (System.in.read() >= 0) {
        }
    }

    static void accept(SSLServerSocket server) {
        while (true) {
            try {
                SSLSocket client = (SSLSocket) server.accept();
                Thread thread = new Thread(() -> answer(client));
                thread.setDaemon(true);
                thread.start();
            } catch (Exception e) {
                e.printStackTrace();
            }
        }
    }

    static void answer(SSLSocket client) {
        try (client) {
            client.startHandshake();
            BufferedReader in = new BufferedReader(new InputStreamReader(client.getInputStream()));
            String line = in.readLine();
            while (line != null && !line.isEmpty()) {
                line = in.readLine();
            }
            if (line == null) {
                return;
            }
            byte[] body = ("Hello over " + client.getSession().getProtocol() + "\n").getBytes();
            OutputStream out = client.getOutputStream();
            out.write(("HTTP/1.0 200 OK\r\nContent-Length: " + body.length + "\r\n\r\n").getBytes());
            out.write(body);
            out.flush();
        } catch (Exception e) {
            e.printStackTrace();
        }
    }
}
