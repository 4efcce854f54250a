"""The types of operations that only tf.contrib of TensorFlow 1.15.5 registers."""

# Those that its submodules add to the registry when they are imported. Operations that
# contrib's Python puts together from others leave no trace in a graph.
CONTRIB_OPS = frozenset(
    """
    AdjustHsvInYiq BigQueryReader BigtableClient BigtableLookupDataset
    BigtablePrefixKeyDataset BigtableRangeKeyDataset
    BigtableSampleKeyPairsDataset BigtableSampleKeysDataset BigtableScanDataset
    BigtableTable BipartiteMatch BucketizeWithInputBoundaries
    BuildCategoricalEqualitySplits BuildDenseInequalitySplits
    BuildSparseInequalitySplits BytesInUse BytesLimit CenterTreeEnsembleBias
    CreateFertileStatsVariable CreateQuantileAccumulator
    CreateStatsAccumulatorScalar CreateStatsAccumulatorTensor
    CreateTreeEnsembleVariable CreateTreeVariable DatasetToBigtable
    DecisionTreeEnsembleResourceHandleOp DecisionTreeResourceHandleOp
    DecodeAudio DecodeAudioV2 DecodeLibsvm DecodeVideo EncodeAudio EncodeAudioV2
    FeatureUsageCounts FertileStatsDeserialize FertileStatsIsInitializedOp
    FertileStatsResourceHandleOp FertileStatsSerialize FinalizeTree
    FusedConv2DBiasActivation GatherTree GcsConfigureBlockCache
    GcsConfigureCredentials GenerateBigQueryReaderPartitions
    GradientTreesPartitionExamples GradientTreesPrediction
    GradientTreesPredictionVerbose GrowTreeEnsemble GrowTreeV4
    HyperplaneLSHProbes IgniteDataset ImageConnectedComponents
    ImageProjectiveTransform ImageProjectiveTransformV2 KafkaDataset
    KinesisDataset MakeQuantileSummaries MaskedMatmul MaxBytesInUse ObtainNext
    PeriodicResample PeriodicResampleOpGrad ProcessInputV4
    QuantileAccumulatorAddSummaries QuantileAccumulatorDeserialize
    QuantileAccumulatorFlush QuantileAccumulatorFlushSummary
    QuantileAccumulatorGetBuckets QuantileAccumulatorIsInitialized
    QuantileAccumulatorSerialize QuantileBuckets QuantileStreamResourceHandleOp
    Quantiles ReduceSliceMax ReduceSliceMin ReduceSliceProd ReduceSliceSum
    ReinterpretStringToFloat RemoteFusedGraphExecute Resampler ResamplerGrad Rpc
    ScatterAddNdim SequenceFileDataset SingleImageRandomDotStereograms
    SkipGramGenerateCandidates SparseFeatureCross SparseFeatureCrossV2
    StatsAccumulatorScalarAdd StatsAccumulatorScalarDeserialize
    StatsAccumulatorScalarFlush StatsAccumulatorScalarIsInitialized
    StatsAccumulatorScalarMakeSummary StatsAccumulatorScalarResourceHandleOp
    StatsAccumulatorScalarSerialize StatsAccumulatorTensorAdd
    StatsAccumulatorTensorDeserialize StatsAccumulatorTensorFlush
    StatsAccumulatorTensorIsInitialized StatsAccumulatorTensorMakeSummary
    StatsAccumulatorTensorResourceHandleOp StatsAccumulatorTensorSerialize
    TraverseTreeV4 TreeDeserialize TreeEnsembleDeserialize
    TreeEnsembleIsInitializedOp TreeEnsembleSerialize TreeEnsembleStampToken
    TreeEnsembleStats TreeEnsembleUsedHandlers TreeIsInitializedOp
    TreePredictionsV4 TreeSerialize TreeSize TryRpc UpdateModelV4
    WALSComputePartialLhsAndRhs ZeroInitializer ZeroVarInitializer
    """.split()
)
