"""provisional"""
def schema(axes, metrics):
    import pyarrow as pa
    t={int:pa.int64(),float:pa.float64(),str:pa.string()}
    b=dict(study=str,run=str,trial=str,student=str,seed=int,preset=str,data=str,status=str,error=str,step=int,seconds=float)
    return pa.schema([(k,t[v]) for k,v in {**b,**axes}.items()]+[(m,pa.float64()) for m in metrics])
