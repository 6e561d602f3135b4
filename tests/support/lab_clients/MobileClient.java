// An app as on a phone: HttpsURLConnection over the device's proxy, a CA that the device trusts, and pins that are
// compared after connect().
// usage: java MobileClient.java PROXY CA_FILE URL PIN[,PIN…]     (no pins: -)
import java.io.FileInputStream;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.URI;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import java.util.Base64;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class MobileClient {
    public static void main(String[] arguments) throws Exception {
        URI proxy = URI.create(arguments[0]);
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (FileInputStream file = new FileInputStream(arguments[1])) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);

        HttpsURLConnection connection = (HttpsURLConnection) URI.create(arguments[2]).toURL().openConnection(
            new Proxy(Proxy.Type.HTTP, new InetSocketAddress(proxy.getHost(), proxy.getPort())));
        connection.setSSLSocketFactory(context.getSocketFactory());
        connection.setConnectTimeout(3000);
        connection.setReadTimeout(3000);
        connection.setRequestProperty("Authorization", "Bearer token");
        connection.connect();
        byte[] spki = connection.getServerCertificates()[0].getPublicKey().getEncoded();
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(spki);
        String pin = "sha256/" + Base64.getEncoder().encodeToString(digest);
        if (!arguments[3].equals("-") && !Arrays.asList(arguments[3].split(",")).contains(pin)) {
            connection.disconnect();
            System.err.println("wrong pin");
            System.exit(1);
        }
        System.out.println(connection.getResponseCode());
        System.exit(0);
    }
}
