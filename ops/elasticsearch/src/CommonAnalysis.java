import java.io.IOException;
import java.io.StringReader;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.en.PorterStemFilter;
import org.apache.lucene.analysis.miscellaneous.ASCIIFoldingFilter;
import org.apache.lucene.analysis.synonym.SolrSynonymParser;
import org.apache.lucene.analysis.synonym.SynonymGraphFilter;
import org.apache.lucene.analysis.synonym.SynonymMap;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.index.IndexService.IndexCreationContext;
import org.elasticsearch.index.analysis.AbstractTokenFilterFactory;
import org.elasticsearch.index.analysis.CharFilterFactory;
import org.elasticsearch.index.analysis.CustomAnalyzer;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;

/**
 * The three token filters that the catalogue's index asks for, by the names and settings of Elasticsearch's module
 * `analysis-common`. That module is in every distribution but not published by itself; like it, these are Lucene's own.
 */
public class CommonAnalysis extends Plugin implements AnalysisPlugin {
  @Override
  public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
    Map<String, AnalysisProvider<TokenFilterFactory>> filters = new TreeMap<>();
    filters.put("asciifolding", (index, environment, name, settings) -> plain(name, ASCIIFoldingFilter::new));
    filters.put(
        "stemmer",
        (index, environment, name, settings) -> {
          if (!List.of("english", "porter").contains(settings.get("language", "porter"))) {
            throw new IllegalArgumentException("Here is Porter's stemmer of English alone.");
          }
          return plain(name, PorterStemFilter::new);
        });
    filters.put("synonym_graph", (index, environment, name, settings) -> new Synonyms(name, settings));
    return filters;
  }

  private static TokenFilterFactory plain(String name, UnaryOperator<TokenStream> filter) {
    return new AbstractTokenFilterFactory(name, Settings.EMPTY) {
      @Override
      public TokenStream create(TokenStream tokens) {
        return filter.apply(tokens);
      }
    };
  }

  /** Rules in Solr's format, read with the tokenizer and filters that stand before it, as the module does. */
  private static final class Synonyms extends AbstractTokenFilterFactory {
    private final List<String> rules;

    Synonyms(String name, Settings settings) {
      super(name, settings);
      rules = settings.getAsList("synonyms");
    }

    @Override
    public TokenStream create(TokenStream tokens) {
      throw new IllegalStateException("Call getChainAwareTokenFilterFactory first");
    }

    @Override
    public TokenFilterFactory getChainAwareTokenFilterFactory(
        IndexCreationContext context,
        TokenizerFactory tokenizer,
        List<CharFilterFactory> characterFilters,
        List<TokenFilterFactory> before,
        Function<String, TokenFilterFactory> others) {
      Analyzer analyzer =
          new CustomAnalyzer(
              tokenizer,
              characterFilters.toArray(CharFilterFactory[]::new),
              before.stream().map(TokenFilterFactory::getSynonymFilter).toArray(TokenFilterFactory[]::new));
      SynonymMap synonyms = read(analyzer);
      return new AbstractTokenFilterFactory(name(), Settings.EMPTY) {
        @Override
        public TokenStream create(TokenStream tokens) {
          return synonyms.fst == null ? tokens : new SynonymGraphFilter(tokens, synonyms, false);
        }
      };
    }

    private SynonymMap read(Analyzer analyzer) {
      try {
        SolrSynonymParser parser = new SolrSynonymParser(true, true, analyzer);
        parser.parse(new StringReader(String.join("\n", rules)));
        return parser.build();
      } catch (IOException | java.text.ParseException problem) {
        throw new IllegalArgumentException("failed to build synonyms", problem);
      }
    }
  }
}
