import java.util.List;
import org.apache.beam.model.pipeline.v1.RunnerApi;
import org.apache.beam.runners.flink.FlinkJobInvoker;
import org.apache.beam.runners.flink.FlinkJobServerDriver;
import org.apache.beam.runners.flink.FlinkPipelineOptions;
import org.apache.beam.runners.flink.FlinkPipelineRunner;
import org.apache.beam.runners.jobsubmission.JobInvocation;
import org.apache.beam.runners.jobsubmission.PortablePipelineRunner;
import org.apache.beam.vendor.guava.v32_1_2_jre.com.google.common.util.concurrent.ListeningExecutorService;

/** Beam's job server for a Flink cluster whose machines have the parts: it sends none of them. */
class JobServer extends FlinkJobInvoker {
  private JobServer(FlinkJobServerDriver.FlinkServerConfiguration configuration) {
    super(configuration);
  }

  @Override
  protected JobInvocation createJobInvocation(
      String id,
      String token,
      ListeningExecutorService executor,
      RunnerApi.Pipeline pipeline,
      FlinkPipelineOptions options,
      PortablePipelineRunner ignored) {
    PortablePipelineRunner runner = new FlinkPipelineRunner(options, null, List.of());
    return super.createJobInvocation(id, token, executor, pipeline, options, runner);
  }

  public static void main(String[] arguments) {
    FlinkJobServerDriver.FlinkServerConfiguration configuration =
        FlinkJobServerDriver.parseArgs(arguments);
    FlinkJobServerDriver.fromConfig(configuration, () -> new JobServer(configuration)).run();
  }
}
