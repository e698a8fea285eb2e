package fleettest;

import java.nio.file.*;
import java.util.*;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.*;
import org.elasticsearch.http.HttpServerTransport;
import org.elasticsearch.node.*;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.transport.netty4.Netty4Plugin;
import org.elasticsearch.xpack.core.XPackPlugin;
import org.elasticsearch.xpack.security.SmallSecurity;

/**
 * One node: Main PORT DATA_DIR PASSWORD. PORT 0 takes a free one. The password of the user `elastic` is a parameter, since
 * the node is thrown away after the tests. With -Dhttp.certificate=FILE and -Dhttp.key=FILE it speaks TLS.
 * When it serves, it prints one line: READY URL.
 */
public class Main {
    public static void main(String[] a) throws Exception {
        int port = Integer.parseInt(a[0]);
        Path home = Path.of(a[1]).toAbsolutePath();
        String password = a[2];
        String certificate = System.getProperty("http.certificate");
        Path config = home.resolve("config");
        Files.createDirectories(config);
        Files.createDirectories(home.resolve("tmp"));
        System.setProperty("es.path.home", home.toString());
        System.setProperty("es.path.conf", config.toString());
        System.setProperty("es.logs.base_path", home.resolve("logs").toString());
        LogConfigurator.configureESLogging();
        LogConfigurator.configureWithoutConfig(Settings.builder().put("logger.level", System.getProperty("log.level", "INFO")).build());
        LogConfigurator.setNodeName("fleet-test");

        KeyStoreWrapper keystore = KeyStoreWrapper.create();
        KeyStoreWrapper.addBootstrapSeed(keystore);
        keystore.setString("bootstrap.password", password.toCharArray());

        Settings.Builder builder = Settings.builder();
        if (certificate != null) {
            builder.put("xpack.security.http.ssl.certificate", certificate).put("xpack.security.http.ssl.key", System.getProperty("http.key"));
        }
        Settings settings = builder
            .put("path.home", home.toString())
            .put("path.data", home.resolve("data").toString())
            .put("path.logs", home.resolve("logs").toString())
            .put("cluster.name", "fleet-test")
            .put("node.name", "fleet-test")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", port)
            .put("transport.port", System.getProperty("transport.port", "0"))
            .put("action.auto_create_index", true)
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .put("node.processors", Integer.getInteger("processors", Runtime.getRuntime().availableProcessors()))
            .put("xpack.security.enabled", true)
            .put("xpack.security.http.ssl.enabled", certificate != null)
            .put("xpack.security.transport.ssl.enabled", false)
            .put("xpack.security.autoconfiguration.enabled", false)
            .put("xpack.license.self_generated.type", "basic")
            .setSecureSettings(keystore)
            .build();
        var env = InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "fleet-test");
        List<Class<? extends Plugin>> plugins = List.of(Netty4Plugin.class, XPackPlugin.class, SmallSecurity.class, FleetPlugin.class);
        Node node = new EmbeddedNode(env, plugins);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try { node.close(); } catch (Exception e) { e.printStackTrace(); }
        }));
        node.start();
        FleetPlugin.createIndices(node.client());
        int bound = node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress().getPort();
        System.out.println("READY " + (certificate == null ? "http" : "https") + "://127.0.0.1:" + bound);
        Thread.currentThread().join();
    }
}
