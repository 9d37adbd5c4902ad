import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * One Elasticsearch node on the loopback interface, without security, for tests: Elasticsearch's own classes, started
 * without its bootstrap, which wants its own JDK, native libraries and an agent.
 *
 * Arguments: the home made by assemble.py, and an empty directory for its data. The address it listens on stands in
 * DATA/logs/http.ports (see node.portsfile). It ends when its standard input does, so it never outlives who started it.
 */
public class Server {
  public static void main(String[] arguments) throws Exception {
    Path home = Path.of(arguments[0]).toAbsolutePath();
    Path data = Path.of(arguments[1]).toAbsolutePath();
    Files.createDirectories(data.resolve("logs"));
    LogConfigurator.registerErrorListener();
    Settings settings =
        Settings.builder()
            .put("path.home", home)
            .put("path.data", data)
            .put("path.logs", data.resolve("logs"))
            .put("cluster.name", "tests")
            .put("node.name", "one")
            .put("node.portsfile", true)
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", 0)
            .put("transport.port", 0)
            // A full disk is the machine's trouble, not that of a test.
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
    Environment environment = new Environment(settings, home.resolve("config"));
    LogConfigurator.configure(environment, true);
    PluginsLoader plugins =
        PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(environment.modulesDir()),
            PluginsLoader.loadPluginsBundles(environment.pluginsDir()),
            Map.of(),
            false); // the server is on the class path, so it has no module that could export anything
    Node node = new Node(environment, plugins);
    node.start();
    while (System.in.read() >= 0) {}
    node.close();
    System.exit(0);
  }
}
